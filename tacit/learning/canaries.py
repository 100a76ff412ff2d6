"""Records, or persons, of an audit that take part in a run and change nothing in it.

A canary's gradient is zero on every weight and lies on one extra coordinate of its own, where every
other record's is zero. So the vector that a private step clips, sums and noises is that of the run
with more coordinates, and what the run makes of its weights stays what it was, to the bit: coins
and noise of the extra coordinates come from a stream of their own, and no canary counts in a size
or a divisor. What is heard on a canary's coordinate is what the mechanism gives away of one record,
as plainly as it can be seen. A canary person has as many rows as a step takes, each with a gradient
of its own on the person's coordinate: they add up to far more than C where each is clipped by
itself. (Nasr et al. 2023, "Tight Auditing of Differentially Private Machine
Learning", arXiv 2302.07956, put such gradients on the model's own coordinates.)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import torch

from tacit.learning.per_example import Whose, clip_factors
from tacit.learning.plan import RoundPlan
from tacit.privacy.grid import Grid
from tacit.privacy.randomness import Stream, Streams

LOUD: Final = 4.0
"""Length of a canary's gradient in units of C: what clips makes it C, and what does not is seen."""


@dataclass(frozen=True, slots=True)
class CanaryRound:
    """An audit's canaries at one site in one round.

    Parameters
    ----------
    present
        bool [K]: which of K coordinates have a canary here that takes part in the run.
    stream
        Their own, for coins, rounding and noise.
    hear
        Called after each step with what would leave of the coordinates: float [K].
    """

    present: torch.Tensor
    stream: Stream
    hear: Callable[[torch.Tensor], None]

    def entered(self, plan: RoundPlan) -> torch.Tensor:
        """Toss the coins of a step: bool [K], which canaries are in its sample."""
        return self.stream.coins(len(self.present), plan.sampling_rate) & self.present

    def rounded_sum(self, plan: RoundPlan, grid: Grid) -> torch.Tensor:
        """Sum a step's sampled canaries, each clipped and rounded to the grid: int64 [K]."""
        entered = self.entered(plan)
        # The other coordinates of such a vector are zero, and rounding leaves zeros as they are.
        own = replace(grid, dimension=1)
        total = torch.zeros(len(entered), dtype=torch.int64)
        if not (count := int(entered.sum())):
            return total
        loud = _gradients(plan, plan.unit_norm, count)
        total[entered] = own.rounded(loud, plan.unit_norm, self.stream).view(count, -1).sum(1)
        return total


def clipped_sums(rounds: Sequence[CanaryRound], plans: Sequence[RoundPlan]) -> torch.Tensor:
    """Sum the canaries that each site's step has sampled, each clipped to the site's C.

    Parameters
    ----------
    rounds, plans
        Of m sites, with K coordinates each.

    Returns
    -------
    Tensor
        fp32 [m, K].
    """
    clips = torch.tensor([plan.clip for plan in plans])
    # All of a site are alike, with one entry that is not zero: it stands for them, and is the norm.
    alone = [_gradients(plan, plan.clip, 1).float() for plan in plans]
    clipped = [(g * clip_factors(g, clip)).sum() for g, clip in zip(alone, clips, strict=True)]
    entered = [own.entered(plan) for own, plan in zip(rounds, plans, strict=True)]
    return torch.stack(clipped)[:, None] * torch.stack(entered)


def _gradients(plan: RoundPlan, norm: float, count: int) -> torch.Tensor:
    """Return the gradients of so many canaries, each on its own coordinate: fp64 [count, 1].

    Each row has a gradient of `LOUD` times what is let through.
    """
    if plan.persons is None:
        return torch.full((count, 1), LOUD * norm, dtype=torch.float64)
    rows = count * plan.persons.rows
    whose = Whose(torch.arange(count).repeat_interleave(plan.persons.rows), plan.persons.within)
    gradients = torch.full((rows, 1), LOUD * norm, dtype=torch.float64)
    (found,) = whose.together([gradients], slice(0, rows))
    return found


class Canaries(Protocol):
    """All canaries of a run: what an audit does with them is its own."""

    def begin(self, plans: Mapping[str, RoundPlan]) -> None:
        """Deal the canaries out to sites, by the plans of a run that begins or goes on."""
        ...

    def at(self, site: str, round_number: int, streams: Streams) -> CanaryRound | None:
        """Return what a site takes along in a round; None where it has no canary."""
        ...

    def conclude(self, path: Path) -> None:
        """Judge what was heard, when the results of a run are in its directory."""
        ...
