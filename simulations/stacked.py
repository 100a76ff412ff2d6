"""The engine that trains a whole cohort at once: admit one by one, learn together, release."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from operator import is_not

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict

from client.app import FAULTS, guarded
from client.site import Admitted, Arrived, Site, admit, learn, release, settle
from simulations.grid import Engine
from tacit.domains.domain import Examples
from tacit.learning.local import Compute
from tacit.learning.stacked.cohort import Member, Sums, train_cohort
from tacit.learning.stacked.frozen import Split, split
from tacit.learning.stacked.trial import choose
from tacit.models.trainable import Weights

log = logging.getLogger(__name__)

RecordType = ArrayRecord | ConfigRecord | MetricRecord

Together = Callable[[], AbstractContextManager[None]]
"""Within it what several sites spend is written at once, at its end."""


def stacked_engine(
    each: Engine, sites: Mapping[str, Site], together: Together, *, private: bool
) -> Engine:
    """Return the engine that trains cohorts at once, or the loop where the model does not allow it.

    Parameters
    ----------
    each
        Answers messages one after another.
    sites
        The sites, by name; they share one model.
    together
        Of the ledger that they share.
    private
        Whether the run clips each example's gradient.
    """
    some = next(iter(sites.values()))
    inputs = tuple(some.data.features.shape[1:])
    frozen = split(some.model, inputs, some.compute)
    model, inputs = (frozen.head, frozen.inputs) if frozen else (some.model, inputs)
    chosen = choose(model, inputs, some.compute, private=private)
    for reason in chosen.reasons:
        log.info("engine: %s", reason)
    if chosen.sums_of is None:
        return each
    return StackedEngine(each, sites, together, _Cohorts(frozen, chosen.sums_of, some.compute))


class StackedEngine:
    """Answers a cohort's messages; those that ask to train are answered by one computation."""

    def __init__(
        self, each: Engine, sites: Mapping[str, Site], together: Together, cohorts: "_Cohorts"
    ) -> None:
        self._each = each
        self._sites = sites
        self._together = together
        self._cohorts = cohorts

    def __call__(self, cohort: Sequence[tuple[Message, str]]) -> list[Message | None]:
        """Answer messages in their order."""
        replies: dict[int, Message | None] = {}
        work: dict[int, tuple[Site, Message, Admitted]] = {}
        read = _read_once()
        with self._together():
            for place, (message, name) in enumerate(cohort):
                if message.metadata.message_type != MessageType.TRAIN:
                    (replies[place],) = self._each([(message, name)])
                    continue
                site = self._sites[name]
                found = guarded(message, partial(admit, site, message, read))
                if isinstance(found, Message):
                    replies[place] = found
                else:
                    work[place] = (site, message, found)
        # What was charged is on disk from here on.
        trained = self._learn([(site, admitted) for site, _, admitted in work.values()])
        for (place, (site, message, admitted)), learnt in zip(work.items(), trained, strict=True):
            replies[place] = guarded(message, partial(_release, site, message, admitted, learnt))
        return [replies[place] for place in range(len(cohort))]

    def _learn(self, work: Sequence[tuple[Site, Admitted]]) -> Sequence[Weights | None]:
        """Train together; None for each where that breaks, so that each is trained alone."""
        if not work:
            return []
        try:
            return self._cohorts.learn(work, self._together)
        except FAULTS as error:
            # Whose data it was is found by training each alone: the others lose nothing.
            log.warning("a cohort is trained one site after another: %s", error)
            return [None] * len(work)


def _read_once() -> Callable[[RecordDict], Arrived]:
    """Return what reads a request once for all sites that were sent the same, and keeps the last.

    The same is what is one object, as the coordinator of this process sends it.
    """
    last: tuple[list[RecordType], Arrived] | None = None

    def read(content: RecordDict) -> Arrived:
        nonlocal last
        records = list(content.values())
        if last is None or len(records) != len(last[0]) or any(map(is_not, records, last[0])):
            last = records, Arrived(content)
        return last[1]

    return read


def _release(site: Site, message: Message, admitted: Admitted, learnt: Weights | None) -> Message:
    return release(site, message, admitted, learn(site, admitted) if learnt is None else learnt)


class _Cohorts:
    """Trains cohorts; a site's rows are touched once it has charged for them.

    Where only the head trains, what the frozen part makes of a site's rows is kept for the run.
    """

    def __init__(self, frozen: Split | None, sums_of: Sums, compute: Compute) -> None:
        self._frozen = frozen
        self._sums_of = sums_of
        self._prefix = f"{frozen.prefix}." if frozen else ""
        self._compute = compute
        self._features: dict[str, Examples] = {}
        self._names: list[str] = []
        self._rows: Examples | None = None

    def _together(self, sites: Sequence[Site]) -> Examples:
        """Return the rows of a cohort, one site after the other, on the device."""
        names = [site.name for site in sites]
        if self._rows is None or names != self._names:
            self._rows = Examples.together([self._rows_of(site) for site in sites])
            self._names = names
        return self._rows

    def _rows_of(self, site: Site) -> Examples:
        device = self._compute.device
        if self._frozen is None:
            return Examples(site.data.features.to(device), site.data.targets.to(device))
        if site.name not in self._features:
            self._features[site.name] = self._frozen.features(site.data, self._compute)
        return self._features[site.name]

    def learn(self, work: Sequence[tuple[Site, Admitted]], together: Together) -> list[Weights]:
        """Train for one round what each site has admitted; return each one's trainable weights.

        A stop from outside settles every charge down to the steps that had begun.
        """
        begun = 0

        def count(steps: int) -> None:
            nonlocal begun
            begun = steps

        try:
            trained = train_cohort(
                self._sums_of,
                self._together([site for site, _ in work]),
                [_member(site, admitted) for site, admitted in work],
                self._starts([admitted.weights for _, admitted in work]),
                self._compute.microbatch,
                count,
            )
        except (KeyboardInterrupt, SystemExit):
            with together():
                for site, admitted in work:
                    settle(site, admitted, begun)
            raise
        found = {self._prefix + name: values.cpu().numpy() for name, values in trained.items()}
        return [{name: found[name][k] for name in found} for k in range(len(work))]

    def _starts(self, weights: Sequence[Weights]) -> dict[str, torch.Tensor]:
        return {
            name.removeprefix(self._prefix): torch.from_numpy(
                np.stack([own[name] for own in weights])
            ).to(self._compute.device)
            for name in weights[0]
        }


def _member(site: Site, admitted: Admitted) -> Member:
    number = admitted.request.round
    return Member(
        len(site.data),
        admitted.request.plan,
        site.streams(number, "coins"),
        site.streams(number, "noise"),
    )
