"""What one site computes in one round; every number in it is public."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tacit.errors import ConfigurationError
from tacit.privacy.events import Event, ExactRelease, GaussianSteps, Relation, SkellamSteps, Unit

if TYPE_CHECKING:
    from tacit.privacy.grid import Grid


class LocalOptimizer(StrEnum):
    """What a site makes of a step's gradient: see `tacit.learning.optimizer`."""

    SGD = "sgd"
    MOMENTUM = "momentum"
    ADAM = "adam"


class Within(StrEnum):
    """What a person's gradient is made of its rows': it is clipped then."""

    MEAN = "mean"
    """Their mean: a person counts alike with few rows and with many."""
    SUM = "sum"
    """Their sum."""


@dataclass(frozen=True, slots=True)
class Persons:
    """How rows become one gradient of the person that they are of.

    Parameters
    ----------
    rows
        Most rows of a person in a step, drawn at random among its own. What clips comes after:
        more rows than that would cost nobody any privacy, but memory.
    within
        What is made of their gradients.
    """

    rows: int
    within: Within

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ConfigurationError(f"rows per person must be at least 1, not {self.rows}")


@dataclass(frozen=True, slots=True)
class Part:
    """How what a site computes enters a sum over sites, of which nothing else need be seen.

    Parameters
    ----------
    bits, spacing, dimension, sites, largest
        The grid on which is summed: `tacit.privacy.grid.Grid`.
    weight
        Public weight of the site in the sum.
    """

    bits: int
    spacing: float
    dimension: int
    sites: int
    largest: int
    weight: float

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ConfigurationError(f"weight={self.weight} of a part must be in (0, 1]")

    def grid(self) -> "Grid":
        """Return the grid; ConfigurationError says why there is none such."""
        from tacit.privacy.grid import Grid

        return Grid(self.bits, self.spacing, self.dimension, self.sites, self.largest)


@dataclass(frozen=True, slots=True)
class Share:
    """A site's share of the noise that the sites make together: see `tacit.privacy.shares`.

    Parameters
    ----------
    variance
        Of the site's own noise, in squared units of the grid.
    honest
        How many such shares are counted on: fewest survivors less colluders.
    """

    variance: float
    honest: int


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """Local steps of stochastic gradient descent, private or not.

    Parameters
    ----------
    steps
        Number of steps, fixed whatever the data are.
    sampling_rate
        Probability with which each row, or each person, enters a step.
    divisor
        Public constant by which a sum of gradients is divided: the expected batch of the declared
        number of rows or persons, never the batch that came about.
    learning_rate
        Step size.
    clipping_norm, noise_multiplier
        C and σ, of each step or, where the unit is the client, of the whole round; both None
        without privacy.
    unit
        Whose presence is hidden: a record's or a person's, by clipping each one's gradient and
        noise at the site; or a client's, by clipping its update and noise at the coordinator.
    proximal_mu
        μ of FedProx: how strongly each step is pulled back to the round's first weights; 0 without.
    optimizer
        What is made of a step's gradient.
    part
        How the result enters a sum over sites; None where the site's weights are sent.
    share
        The site's noise on its part, in place of `noise_multiplier`; None elsewhere. Where the unit
        is no client, the part is one step's sum of clipped gradients.
    clip_factor
        Times `clipping_norm`, where C follows the updates of the rounds before. Noise is relative
        to C, so that it changes no guarantee.
    count_weight
        κ of `tacit.learning.clipping`: what the count of updates that were not clipped weighs in
        a client's part; 0 where there is no such count.
    persons
        What a person's gradient is made of, where the unit is a person; None elsewhere.
    """

    steps: int
    sampling_rate: float
    divisor: float
    learning_rate: float
    clipping_norm: float | None = None
    noise_multiplier: float | None = None
    unit: Unit = Unit.RECORD
    proximal_mu: float = 0.0
    optimizer: LocalOptimizer = LocalOptimizer.SGD
    part: Part | None = None
    share: Share | None = None
    clip_factor: float = 1.0
    count_weight: float = 0.0
    persons: Persons | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigurationError(f"steps of a round must be at least 1, not {self.steps}")
        if not 0 < self.sampling_rate <= 1:
            raise ConfigurationError(f"sampling rate must be in (0, 1], not {self.sampling_rate}")
        for name, value in (
            ("divisor", self.divisor),
            ("learning rate", self.learning_rate),
            ("clip factor", self.clip_factor),
        ):
            if not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"{name} must be positive, not {value}")
        if not (math.isfinite(self.proximal_mu) and self.proximal_mu >= 0):
            raise ConfigurationError(f"proximal μ must be 0 or more, not {self.proximal_mu}")
        if not (math.isfinite(self.count_weight) and self.count_weight >= 0):
            raise ConfigurationError(f"count weight must be 0 or more, not {self.count_weight}")
        if self.part is not None:
            self.part.grid()
        if self.share is not None:
            self._check_share()
        elif (self.clipping_norm is None) != (self.noise_multiplier is None):
            raise ConfigurationError("a private round needs both clipping norm and noise")
        if (self.unit is Unit.PERSON) != (self.persons is not None):
            raise ConfigurationError(
                f"privacy.unit={self.unit} with persons={self.persons}: how many rows of a person "
                "enter a step is said where a person is the unit, and nowhere else"
            )
        self.event()

    @property
    def clips_gradients(self) -> bool:
        """Whether each record's or person's gradient is clipped, and each step noised, here."""
        private = self.clipping_norm is not None and self.share is None
        return private and self.unit is not Unit.CLIENT

    @property
    def sums_gradients(self) -> bool:
        """Whether the part is of clipped gradients of one step, and not of what a round adds."""
        return self.share is not None and self.unit is not Unit.CLIENT

    @property
    def unit_norm(self) -> float:
        """Largest L2 norm of what one unit adds to the part.

        A record or person adds weight × C ÷ divisor; a client, whose part is in units of C, 1 and
        its count.
        """
        if self.unit is Unit.CLIENT:
            return math.hypot(1.0, self.count_weight / 2)
        weight = 1.0 if self.part is None else self.part.weight
        return weight * (self.clipping_norm or 0.0) / self.divisor

    @property
    def clip(self) -> float:
        """C of this round."""
        return (self.clipping_norm or 0.0) * self.clip_factor

    @property
    def clips_update(self) -> bool:
        """Whether all that the round adds to the model is clipped, to be noised elsewhere."""
        return self.clipping_norm is not None and self.unit is Unit.CLIENT

    def event(self) -> Event:
        """Return what this round does to the data, at most."""
        if self.share is not None:
            return self._shared_event(self.share, self.share.honest)
        if self.clipping_norm is None or self.noise_multiplier is None:
            return ExactRelease("weights trained without privacy", self.unit)
        try:
            if self.unit is Unit.CLIENT:
                # One sum, of which every client of the round has its part; who that is shows.
                return GaussianSteps(
                    self.noise_multiplier,
                    1.0,
                    1,
                    self.clipping_norm,
                    self.unit,
                    Relation.REPLACE_WITH_ZERO,
                )
            return GaussianSteps(
                self.noise_multiplier, self.sampling_rate, self.steps, self.clipping_norm, self.unit
            )
        except ValueError as error:
            raise ConfigurationError(f"privacy of a round: {error}") from error

    def event_alone(self) -> Event:
        """Return what it does should all other sites keep no secret: the own noise alone counts."""
        return self.event() if self.share is None else self._shared_event(self.share, 1)

    def _shared_event(self, share: Share, shares: int) -> SkellamSteps:
        if self.part is None:
            raise ConfigurationError("a share of noise is added to a part of a sum: there is none")
        whole = self.unit is Unit.CLIENT
        try:
            return SkellamSteps(
                self.part.grid().l2_sensitivity(self.unit_norm),
                share.variance,
                self.part.dimension,
                # Who takes part in a round is seen.
                1.0 if whole else self.sampling_rate,
                1 if whole else self.steps,
                self.unit,
                Relation.REPLACE_WITH_ZERO if whole else Relation.ADD_OR_REMOVE_ONE,
                shares,
            )
        except ValueError as error:
            raise ConfigurationError(f"privacy of a round: {error}") from error

    def _check_share(self) -> None:
        if self.clipping_norm is None or self.noise_multiplier is not None:
            raise ConfigurationError(
                "a sum with shared noise has a clipping norm, and no noise multiplier"
            )
        if not self.sums_gradients:
            return
        if (self.steps, self.proximal_mu, self.optimizer) != (1, 0.0, LocalOptimizer.SGD):
            raise ConfigurationError(
                "with shared noise one gradient step is one sum: steps=1, proximal μ=0 and "
                f"optimizer=sgd, not {self.steps}, {self.proximal_mu:g} and {self.optimizer.value}"
            )
