"""What was done to data, as values: an event says what happened, an accountant what it costs.

An event never changes its meaning once it stands in a ledger; a new meaning gets a new ``kind``.

Notes
-----
Every field is public: an event depends on the configuration of a run and never on data.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import ClassVar

from tacit.errors import LedgerError


class Unit(StrEnum):
    """Whose presence a guarantee hides."""

    RECORD = "record"
    PERSON = "person"
    CLIENT = "client"


class Relation(StrEnum):
    """Which two data sets a guarantee cannot tell apart."""

    ADD_OR_REMOVE_ONE = "add_or_remove_one"
    """One unit more or one unit fewer (Dwork and Roth 2014, section 2.3)."""

    REPLACE_WITH_ZERO = "replace_with_zero"
    """One unit's contribution replaced by zero; who takes part stays visible."""


@dataclass(frozen=True, slots=True)
class GaussianSteps:
    """Noised sums of clipped vectors over Poisson samples: the sampled Gaussian mechanism.

    Parameters
    ----------
    noise_multiplier
        σ: standard deviation of the noise on the sum, divided by `clipping_norm`. Positive.
    sampling_rate
        Probability q in (0, 1] with which each unit enters a step, independently of the others.
    steps
        How many noised sums are released, at least 0.
    clipping_norm
        Largest L2 norm C of one unit's contribution to one sum.
    unit
        Whose contribution is clipped.
    relation
        Neighbouring relation under which the sensitivity of the sum is C.

    References
    ----------
    Abadi et al. 2016, "Deep Learning with Differential Privacy", algorithm 1; Mironov, Talwar and
    Zhang 2019, arXiv 1908.10530, section 3.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int
    clipping_norm: float
    unit: Unit = Unit.RECORD
    relation: Relation = Relation.ADD_OR_REMOVE_ONE

    kind: ClassVar[str] = "gaussian_steps/1"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            raise ValueError(f"noise_multiplier={self.noise_multiplier} must be positive")
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"sampling_rate={self.sampling_rate} must be in (0, 1]")
        if self.steps < 0:
            raise ValueError(f"steps={self.steps} must not be negative")
        if not (math.isfinite(self.clipping_norm) and self.clipping_norm > 0):
            raise ValueError(f"clipping_norm={self.clipping_norm} must be positive")


@dataclass(frozen=True, slots=True)
class ExactRelease:
    """Something computed from data left as it was: no privacy, ε is infinite."""

    what: str
    unit: Unit = Unit.RECORD
    relation: Relation = Relation.ADD_OR_REMOVE_ONE

    kind: ClassVar[str] = "exact_release/1"


@dataclass(frozen=True, slots=True)
class SkellamSteps:
    """Sums of integer vectors over Poisson samples, each with Skellam noise on every coordinate.

    Everything is counted in units of the integer grid (`tacit.privacy.grid`), so that rounding is
    in the sensitivity and in nothing else.

    Parameters
    ----------
    l2_sensitivity
        Δ₂: largest L2 norm of the integer vector that one unit contributes to one sum. Positive.
    variance
        Of one share of the noise, on each coordinate. Positive.
    dimension
        d: number of coordinates, from 1 to 2**48.
    sampling_rate
        Probability q in (0, 1] with which each unit enters a step, independently of the others.
    steps
        How many noised sums are released, at least 0.
    unit
        Whose contribution is bounded.
    relation
        Neighbouring relation under which the sensitivity of the sum is Δ₂.
    shares
        How many shares are counted on, at least 1: those that whoever the guarantee is against
        does not know. With 1 the site's own is enough, whatever the others do.

    References
    ----------
    Agarwal, Kairouz and Liu 2021, "The Skellam Mechanism for Differentially Private Federated
    Learning", arXiv 2110.04995, section 3.
    """

    l2_sensitivity: float
    variance: float
    dimension: int
    sampling_rate: float
    steps: int
    unit: Unit = Unit.RECORD
    relation: Relation = Relation.ADD_OR_REMOVE_ONE
    shares: int = 1

    kind: ClassVar[str] = "skellam_steps/1"

    def __post_init__(self) -> None:
        for name, value in (("l2_sensitivity", self.l2_sensitivity), ("variance", self.variance)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value} must be positive")
        if not 1 <= self.dimension <= 2**48:
            raise ValueError(f"dimension={self.dimension} must be from 1 to 2**48")
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"sampling_rate={self.sampling_rate} must be in (0, 1]")
        if self.steps < 0:
            raise ValueError(f"steps={self.steps} must not be negative")
        if self.shares < 1:
            raise ValueError(f"shares={self.shares} must be at least 1")

    @property
    def counted_variance(self) -> float:
        """μ: variance of the noise that is counted on, of all its shares."""
        return self.shares * self.variance

    @property
    def l1_sensitivity(self) -> float:
        """Δ₁ = min(√d Δ₂, Δ₂²): Cauchy and Schwarz, and |k| ≤ k² for integers."""
        return self.l2_sensitivity * min(math.sqrt(self.dimension), self.l2_sensitivity)

    @property
    def noise_multiplier(self) -> float:
        """σ: standard deviation of the noise counted on, divided by the sensitivity Δ₂."""
        return math.sqrt(self.counted_variance) / self.l2_sensitivity


NoisedSteps = GaussianSteps | SkellamSteps
"""Events of several steps, each of which adds noise."""

Event = NoisedSteps | ExactRelease


def noised(events: Iterable[Event]) -> tuple[NoisedSteps, ...]:
    """Return the events that add noise, in their order."""
    return tuple(event for event in events if not isinstance(event, ExactRelease))


def to_json(event: Event) -> str:
    """Write an event as canonical JSON, the form that a ledger hashes."""
    return json.dumps({"kind": event.kind, **asdict(event)}, sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Event:
    """Read an event that `to_json` wrote.

    Raises
    ------
    LedgerError
        The kind is unknown (written by a newer version) or a field is missing or out of range.
    """
    try:
        fields: dict[str, object] = json.loads(text)
        kind = fields.pop("kind")
        if kind == GaussianSteps.kind:
            return _gaussian_steps(fields)
        if kind == SkellamSteps.kind:
            return _skellam_steps(fields)
        if kind == ExactRelease.kind:
            return ExactRelease(
                str(fields["what"]), Unit(str(fields["unit"])), Relation(str(fields["relation"]))
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LedgerError(f"an event cannot be read: {text[:200]!r}: {error}") from error
    raise LedgerError(f"unknown event kind {kind!r}: was this written by a newer version of Tacit?")


def _gaussian_steps(fields: Mapping[str, object]) -> GaussianSteps:
    return GaussianSteps(
        noise_multiplier=float(str(fields["noise_multiplier"])),
        sampling_rate=float(str(fields["sampling_rate"])),
        steps=int(str(fields["steps"])),
        clipping_norm=float(str(fields["clipping_norm"])),
        unit=Unit(str(fields["unit"])),
        relation=Relation(str(fields["relation"])),
    )


def _skellam_steps(fields: Mapping[str, object]) -> SkellamSteps:
    return SkellamSteps(
        l2_sensitivity=float(str(fields["l2_sensitivity"])),
        variance=float(str(fields["variance"])),
        dimension=int(str(fields["dimension"])),
        sampling_rate=float(str(fields["sampling_rate"])),
        steps=int(str(fields["steps"])),
        unit=Unit(str(fields["unit"])),
        relation=Relation(str(fields["relation"])),
        shares=int(str(fields.get("shares", 1))),
    )
