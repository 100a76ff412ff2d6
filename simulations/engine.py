"""The engine that answers a whole cohort: admit one by one, learn together, release one by one."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

from flwr.app import ArrayRecord, Message, MessageType, RecordDict

from client.app import FAULTS, guarded
from client.arrived import Arrays, Arrived, arrived
from client.site import (
    Admitted,
    Site,
    admit,
    canaries_of,
    learn,
    leaving,
    release,
    settle,
    task_of,
)
from simulations.grid import Engine
from simulations.learners import Learner
from tacit.models.trainable import Weights

log = logging.getLogger(__name__)

Together = Callable[[], AbstractContextManager[None]]
"""Within it what several sites spend is written at once, at its end."""


class CohortEngine:
    """Answers a cohort's messages; those that ask to train are answered by one learner.

    Parameters
    ----------
    each
        Answers messages one after another.
    sites
        The sites, by name; they share one model.
    together
        Of the ledger that they share.
    learner
        Trains them.
    """

    def __init__(
        self, each: Engine, sites: Mapping[str, Site], together: Together, learner: Learner
    ) -> None:
        self._each = each
        self._sites = sites
        self._together = together
        self._learner = learner

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
        """Train together; None for each where that breaks, so that each is trained alone.

        A stop from outside settles every charge down to the steps that had begun.
        """
        if not work:
            return []
        begun = [0] * len(work)
        try:
            tasks = [task_of(*each, canaries_of(*each)) for each in work]
            return self._learner.learn(tasks, begun)
        except (KeyboardInterrupt, SystemExit):
            with self._together():
                for (site, admitted), steps in zip(work, begun, strict=True):
                    settle(site, admitted, steps)
            raise
        except FAULTS as error:
            # Whose data it was is found by training each alone: the others lose nothing.
            log.warning("a cohort is trained one site after another: %s", error)
            return [None] * len(work)


def _read_once() -> Callable[[RecordDict], Arrived]:
    """Return what reads for all sites once what they were sent alike.

    Alike is what is one object, as the coordinator of this process sends it; the cohort's messages
    hold it for as long as this lives.
    """
    requests: dict[tuple[int, ...], Arrived] = {}
    arrays: dict[int, Arrays] = {}

    def read_arrays(record: ArrayRecord) -> Arrays:
        if id(record) not in arrays:
            arrays[id(record)] = Arrays(record)
        return arrays[id(record)]

    def read(content: RecordDict) -> Arrived:
        key = tuple(map(id, content.values()))
        if key not in requests:
            requests[key] = arrived(content, read_arrays)
        return requests[key]

    return read


def _release(site: Site, message: Message, admitted: Admitted, learnt: Weights | None) -> Message:
    weights = learn(site, admitted) if learnt is None else leaving(site, admitted, learnt)
    return release(site, message, admitted, weights)
