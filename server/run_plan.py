"""A run as it is fixed before its first round, where it stands, and what came of a round."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Final

from server.central import CentralNoise
from strategies.memory import Memory
from tacit.joint_plan import JointPlan
from tacit.learning.plan import RoundPlan
from tacit.messages import Terms
from tacit.models.trainable import Weights
from tacit.privacy.chain import Receipt
from tacit.privacy.policy import Reason

USED_UP: Final = frozenset({Reason.BUDGET, Reason.TOO_MANY_ROUNDS})
"""Why a site that took part takes part no more."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A whole run, fixed before its first round.

    Parameters
    ----------
    run
        The run's identity.
    rounds
        Number of rounds.
    terms
        What it is about.
    sites
        What each site computes in a round, by name.
    declared_sizes
        Public weight of each site in the average.
    epsilons, delta
        What the run may cost each site, at one δ; infinite and 0 without privacy.
    min_replies
        Fewest replies with which a round counts.
    cohort
        Sites of a round; None for all.
    most_rounds
        In how many rounds a site takes part at most; None for all.
    timeout
        Seconds after which a missing reply is a failure; None to wait.
    central
        How the coordinator noises the sum of a round's updates; None where it adds no noise.
    clipping_quantile
        Share of updates that C, which follows them, leaves as they are; None where C stays.
    summed
        What each site of a secure sum computes, also those that have not joined; None where each
        reply is seen.
    """

    run: str
    rounds: int
    terms: Terms
    sites: Mapping[str, RoundPlan]
    declared_sizes: Mapping[str, int]
    epsilons: Mapping[str, float]
    delta: float
    min_replies: int
    timeout: float | None = None
    cohort: int | None = None
    most_rounds: int | None = None
    central: CentralNoise | None = None
    clipping_quantile: float | None = None
    summed: Mapping[str, RoundPlan] | None = None

    @property
    def rounds_of_a_site(self) -> int:
        """In how many rounds a site takes part at most: what it sets aside and what σ is for."""
        return self.rounds if self.most_rounds is None else self.most_rounds

    @property
    def asks_everybody(self) -> bool:
        """Whether its rounds have room for every site."""
        return self.cohort is None or self.rounds * self.cohort >= len(self.sites)

    def among(self, sites: Collection[str]) -> "RunPlan":
        """Return the plan for some of its sites."""
        summed = self.summed
        if summed is not None:
            summed = {site: summed[site] for site in sites}
        return replace(self, sites={site: self.sites[site] for site in sites}, summed=summed)

    def used_up(self, reasons: Mapping[str, str]) -> bool:
        """Whether too few sites are left that have a budget for another round."""
        spent = {site for site, reason in reasons.items() if reason in USED_UP}
        if spent and len(spent) == len(reasons):
            return True
        return bool(spent) and len(self.sites.keys() - spent) < self.min_replies

    def clipped_at(self, factor: float) -> "RunPlan":
        """Return the plan of a round whose C is so many times that of the plan."""
        at = lru_cache(maxsize=None)(partial(replace, clip_factor=factor))
        summed = self.summed
        if summed is not None:
            summed = {site: at(plan) for site, plan in summed.items()}
        return replace(self, sites={s: at(plan) for s, plan in self.sites.items()}, summed=summed)

    def joint(self) -> JointPlan | None:
        """Return what all sites of a sum agree on; None where each reply is seen."""
        if self.summed is None:
            return None
        return JointPlan.of(self.run, self.rounds, self.terms, self.summed)


@dataclass(frozen=True, slots=True)
class State:
    """All that the next round depends on.

    `round` is the last complete round; 0 before the first. `model` is the SHA-256 of what does not
    travel of the model: the weights belong to it alone. `clip_factor` is the next round's.
    """

    round: int
    weights: Weights
    memory: Memory = field(default_factory=dict)
    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    model: str = ""
    clip_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What happened in a round: who replied, who failed and why, and how long it took.

    `clipping_norm` is C where it changes from round to round.
    """

    round: int
    replied: tuple[str, ...]
    failed: Mapping[str, str]
    seconds: float
    cpu_seconds: float
    clipping_norm: float | None = None
