"""How the sites of a round learn, once each has charged for it: a seam with several ways."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from torch import nn

from client.task import Task, train_alone
from tacit.learning.local import Compute
from tacit.models.trainable import Weights
from tacit.settings import EngineKind

log = logging.getLogger(__name__)

QUICK = 1.0
"""Seconds below which a time is taken twice: the first of two calls pays for what is made once."""


class Learner(Protocol):
    """Trains what several sites are to compute in a round."""

    def learn(self, tasks: Sequence[Task], begun: list[int]) -> Sequence[Weights]:
        """Return what each site has learnt.

        Parameters
        ----------
        tasks
            One a site; no two of one site.
        begun
            Steps that each has begun, written before a step touches data: what a stop cannot give
            back.
        """
        ...


class OneByOne:
    """One site after another, by Opacus.

    Parameters
    ----------
    model
        All sites' model.
    compute
        Where and how.
    """

    def __init__(self, model: nn.Module, compute: Compute) -> None:
        self._model = model
        self._compute = compute

    def learn(self, tasks: Sequence[Task], begun: list[int]) -> list[Weights]:
        """Return what each site has learnt."""
        found = []
        for place, task in enumerate(tasks):

            def count(steps: int, place: int = place) -> None:
                begun[place] = steps

            found.append(train_alone(self._model, task, self._compute, count))
        return found


class Faster:
    """The faster of several ways, found on the first real cohort and kept.

    Both compute the same from the same request; what the slower has computed goes nowhere.

    Parameters
    ----------
    ways
        By the name that is kept.
    on_choice
        Called with the name of the faster.
    """

    def __init__(
        self, ways: dict[EngineKind, Learner], on_choice: Callable[[EngineKind], None]
    ) -> None:
        self._ways = ways
        self._on_choice = on_choice
        self._chosen: Learner | None = None

    def learn(self, tasks: Sequence[Task], begun: list[int]) -> Sequence[Weights]:
        """Return what each site has learnt."""
        if self._chosen is not None:
            return self._chosen.learn(tasks, begun)
        # Canaries of an audit do not hear a round that is trained several times.
        tasks = [replace(task, canaries=None) for task in tasks]
        seconds: dict[EngineKind, float] = {}
        found: dict[EngineKind, Sequence[Weights]] = {}
        for kind, way in self._ways.items():
            seconds[kind], found[kind] = _timed(way, tasks, begun)
        best = min(seconds, key=lambda kind: seconds[kind])
        log.info(
            "engine: %s is the fastest: %s",
            best.value,
            ", ".join(f"{kind.value} {each:.3f} s" for kind, each in seconds.items()),
        )
        self._chosen = self._ways[best]
        self._on_choice(best)
        return found[best]


def _timed(
    way: Learner, tasks: Sequence[Task], begun: list[int]
) -> tuple[float, Sequence[Weights]]:
    best = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        found = way.learn(tasks, begun)
        taken = time.perf_counter() - started
        best = min(best, taken)
        if taken > QUICK:
            break
    return best, found
