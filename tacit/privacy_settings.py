"""The settings of a run's privacy, as values: one class for each kind."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, TypeGuard

from pydantic import ConfigDict, Field, with_config

from tacit.learning.plan import Persons, Within
from tacit.privacy.events import Relation, Unit

_STRICT = ConfigDict(extra="forbid")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Seed = Annotated[int, Field(ge=0, strict=True)]
Rows = Annotated[int, Field(ge=1, strict=True)]
Bits = Literal[16, 32]


class NoiseBy(StrEnum):
    """Who adds the noise that protects whole clients."""

    COORDINATOR = "coordinator"
    """It is trusted with the exact sum and, where there is no secure sum, with each update."""
    CLIENTS = "clients"
    """Each adds its share, and only the sum is seen."""


class NoiseSource(StrEnum):
    """Where noise comes from when it is not seeded."""

    SYSTEM = "system"


@with_config(_STRICT)
@dataclass(frozen=True)
class RecordPrivacy:
    """Differential privacy for each record, or person, at each site, by DP-SGD at the site.

    Parameters
    ----------
    epsilon, delta
        Budget of the run at every site.
    clipping_norm
        Largest L2 norm C of one record's gradient, or one person's.
    unit
        Whose presence is hidden: a 'record', or a 'person' with all its rows at the site.
    rows_per_person, within_person
        Of a person: most rows in a step, and what is made of their gradients before they are
        clipped as one.
    bits
        Of a number in a secure sum: 32, or 16 where rounding costs little.
    noise_seed
        Seed of noise and sampling (simulation only); None follows the run's seed; 'system' takes
        noise that nobody can recompute.
    """

    kind: Literal["record"]
    epsilon: Positive
    delta: Annotated[float, Field(gt=0, lt=1, strict=True)]
    clipping_norm: Positive
    unit: Unit = Unit.RECORD
    rows_per_person: Rows = 8
    within_person: Within = Within.MEAN
    bits: Bits = 32
    noise_seed: Seed | NoiseSource | None = None


@with_config(_STRICT)
@dataclass(frozen=True)
class ClientPrivacy:
    """Differential privacy for whole clients.

    Parameters
    ----------
    epsilon, delta
        Budget of the run for every client.
    clipping_norm
        Largest L2 norm C of all that a client adds to a round's model.
    clipping_quantile
        Share of updates that C is to leave as they are: it follows them then, from `clipping_norm`
        on, at a cost that is counted. None: C stays.
    noise
        Who adds it.
    colluders
        Where clients do: how many whose shares are not counted on, as in `SharedNoisePrivacy`.
    bits
        As `RecordPrivacy` has it.
    noise_seed
        As `RecordPrivacy` has it.
    """

    kind: Literal["client_level"]
    epsilon: Positive
    delta: Annotated[float, Field(gt=0, lt=1, strict=True)]
    clipping_norm: Positive
    clipping_quantile: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = None
    noise: NoiseBy = NoiseBy.COORDINATOR
    colluders: Annotated[int, Field(ge=0, strict=True)] = 1
    bits: Bits = 32
    noise_seed: Seed | NoiseSource | None = None

    @property
    def in_shares(self) -> bool:
        """Whether clients make the noise together."""
        return self.noise is NoiseBy.CLIENTS

    @property
    def sums(self) -> bool:
        """Whether clients send parts of a sum, though each may be seen."""
        return self.in_shares or self.clipping_quantile is not None


@with_config(_STRICT)
@dataclass(frozen=True)
class SharedNoisePrivacy:
    """Differential privacy for each record, or person, by noise that the sites make together.

    Each adds its share of discrete noise to its part of a secure sum; one gradient step is one sum.

    Parameters
    ----------
    epsilon, delta
        Budget of the run at every site, as long as `colluders` sites at most give their shares
        away, with the fewest replies with which a round counts (training.min_replies).
    clipping_norm, unit, rows_per_person, within_person
        As `RecordPrivacy` has them.
    colluders
        Sites whose shares are not counted on; whoever looks at a sum knows its own, so at least 1
        where the guarantee is also against other sites. 0: against the server alone.
    bits
        32, or 16 where rounding costs little.
    noise_seed
        As `RecordPrivacy` has it.
    """

    kind: Literal["shared_noise"]
    epsilon: Positive
    delta: Annotated[float, Field(gt=0, lt=1, strict=True)]
    clipping_norm: Positive
    unit: Unit = Unit.RECORD
    rows_per_person: Rows = 8
    within_person: Within = Within.MEAN
    colluders: Annotated[int, Field(ge=0, strict=True)] = 1
    bits: Bits = 32
    noise_seed: Seed | NoiseSource | None = None


@with_config(_STRICT)
@dataclass(frozen=True)
class NoPrivacy:
    """No privacy at all: a baseline, for simulations."""

    kind: Literal["none"]


AnyPrivacy = RecordPrivacy | SharedNoisePrivacy | ClientPrivacy | NoPrivacy
Privacy = Annotated[AnyPrivacy, Field(discriminator="kind")]


def in_shares(privacy: AnyPrivacy) -> TypeGuard[SharedNoisePrivacy | ClientPrivacy]:
    """Tell whether the noise is made by those whom it protects, each a share."""
    if isinstance(privacy, ClientPrivacy):
        return privacy.in_shares
    return isinstance(privacy, SharedNoisePrivacy)


def protected(privacy: AnyPrivacy) -> tuple[Unit, Relation]:
    """Return whose presence a privacy hides, between which data sets; without any, a record's."""
    if isinstance(privacy, ClientPrivacy):
        return Unit.CLIENT, Relation.REPLACE_WITH_ZERO
    unit = Unit.RECORD if isinstance(privacy, NoPrivacy) else privacy.unit
    return unit, Relation.ADD_OR_REMOVE_ONE


def persons_of(privacy: AnyPrivacy) -> Persons | None:
    """Return what a person's gradient is made of; None where a person is not the unit."""
    if isinstance(privacy, ClientPrivacy | NoPrivacy) or privacy.unit is not Unit.PERSON:
        return None
    return Persons(privacy.rows_per_person, privacy.within_person)
