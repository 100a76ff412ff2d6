"""The learner that trains all sites of a round in one computation, where the model allows it."""

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from client.task import Task
from simulations.chunks import peak_of
from simulations.kept import Features
from simulations.learners import OneByOne
from tacit.domains.domain import Examples
from tacit.domains.partitioned import SiteRows
from tacit.learning.local import Compute
from tacit.learning.stacked.cohort import Member, Sums, train_cohort
from tacit.learning.stacked.frozen import Split, split
from tacit.learning.stacked.gradients import Batch
from tacit.learning.stacked.persons import count_of
from tacit.learning.stacked.trial import choose
from tacit.models.trainable import Weights

log = logging.getLogger(__name__)


def stacked_learner(
    model: nn.Module,
    inputs: tuple[int, ...],
    compute: Compute,
    features: Features,
    *,
    private: bool,
) -> "AllAtOnce | OneByOne":
    """Return the learner that trains cohorts at once, or one by one where the model forbids it.

    Parameters
    ----------
    model
        All sites' model.
    inputs
        Shape of one example.
    compute
        Where and how.
    features
        Where what a frozen part makes of sites' rows is kept, by site.
    private
        Whether the run clips each example's gradient.
    """
    frozen = split(model, inputs, compute)
    part, inputs = (frozen.head, frozen.inputs) if frozen else (model, inputs)
    chosen = choose(part, inputs, compute, private=private)
    for reason in chosen.reasons:
        log.info("engine: %s", reason)
    if chosen.sums_of is None:
        return OneByOne(model, compute)
    return AllAtOnce(frozen, chosen.sums_of, compute, features)


class AllAtOnce:
    """Trains cohorts in one computation; a site's rows are touched once it has charged for them.

    Where only the head trains, what the frozen part makes of a site's rows is kept: for the run, or
    for all runs of a sweep that share it.
    """

    def __init__(
        self, frozen: Split | None, sums_of: Sums, compute: Compute, features: Features
    ) -> None:
        self._frozen = frozen
        self._sums_of = sums_of
        self._prefix = f"{frozen.prefix}." if frozen else ""
        self._compute = compute
        self._features = features
        self._names: list[str] = []
        self._rows: Examples | None = None

    def learn(self, tasks: Sequence[Task], begun: list[int]) -> list[Weights]:
        """Return what each site has learnt, as views of one array for each weight."""

        def count(steps: int) -> None:
            begun[:] = [min(steps, task.plan.steps) for task in tasks]

        trained = train_cohort(
            self._sums_of,
            self._together(tasks),
            [_member(task) for task in tasks],
            self._starts([task.weights for task in tasks]),
            self._compute.microbatch,
            count,
        )
        found = {self._prefix + name: values.cpu().numpy() for name, values in trained.items()}
        return [{name: found[name][k] for name in found} for k in range(len(tasks))]

    def peak(self, tasks: Sequence[Task]) -> int:
        """Return the most bytes that a step for these sites holds at once.

        As if each drew four standard deviations more than its mean.
        """
        persons = tasks[0].plan.persons
        each = 1 if persons is None else persons.rows
        width = each * max(_likely(_units(task), task.plan.sampling_rate) for task in tasks)
        rows, device = self._rows_of(tasks[0]), self._compute.device
        batch = Batch(
            rows.features.new_zeros(len(tasks), width, *rows.features.shape[1:]),
            rows.targets.new_zeros(len(tasks), width, *rows.targets.shape[1:]),
            torch.ones(len(tasks), width, dtype=torch.bool, device=device),
            each,
        )
        private = tasks[0].plan.clips_gradients
        clips = torch.ones(len(tasks), device=device) if private else None
        starts = self._starts([task.weights for task in tasks])

        def step() -> None:
            # Weights, their sums, the step made of them, and what is returned.
            kept = [value.clone() for value in starts.values() for _ in range(4)]
            for part in batch.passes(self._compute.microbatch):
                self._sums_of(starts, part, clips)
            del kept

        return peak_of(step, device)

    def _together(self, tasks: Sequence[Task]) -> Examples:
        """Return the rows of a cohort, one site after the other, on the device."""
        names = [task.site for task in tasks]
        if self._rows is None or names != self._names:
            self._rows = self._gathered(tasks)
            self._names = names
        return self._rows

    def _gathered(self, tasks: Sequence[Task]) -> Examples:
        if self._frozen is None:
            rows = [task.data for task in tasks]
            return self._moved(SiteRows.gathered(rows) or Examples.together(rows))
        return Examples.together([self._rows_of(task) for task in tasks])

    def _moved(self, rows: Examples) -> Examples:
        device = self._compute.device
        return Examples(rows.features.to(device), rows.targets.to(device), rows.persons)

    def _rows_of(self, task: Task) -> Examples:
        if self._frozen is None:
            return self._moved(task.data)
        if task.site not in self._features:
            self._features[task.site] = self._frozen.features(task.data, self._compute)
        return self._features[task.site]

    def _starts(self, weights: Sequence[Weights]) -> dict[str, torch.Tensor]:
        return {
            name.removeprefix(self._prefix): torch.from_numpy(
                np.stack([own[name] for own in weights])
            ).to(self._compute.device)
            for name in weights[0]
        }


def _likely(size: int, rate: float) -> int:
    """Return a number of units that a Poisson sample hardly ever exceeds."""
    mean = size * rate
    return max(1, min(size, math.ceil(mean + 4 * math.sqrt(mean * (1 - rate)))))


def _units(task: Task) -> int:
    """Return how many there are at a site for whom a coin is tossed."""
    persons = None if task.plan.persons is None else task.data.persons
    return len(task.data) if persons is None else count_of(persons)


def _member(task: Task) -> Member:
    persons = task.plan.persons is not None
    return Member(
        len(task.data),
        task.plan,
        task.streams(task.round, "coins"),
        task.streams(task.round, "noise") if task.plan.clips_gradients else None,
        task.canaries,
        task.data.persons if persons else None,
        task.streams(task.round, "rows") if persons else None,
    )
