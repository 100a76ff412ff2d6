"""The settings of a run, as values: what a configuration may say and what it means.

Every option of a group has a dataclass with its `kind`; what happens follows the kind, never the
absence of a key. `tacit.configuration` reads a plain mapping (of YAML) into these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, with_config

from tacit.learning.plan import LocalOptimizer
from tacit.models.pretraining import Pretraining
from tacit.models.trainable import Train
from tacit.privacy.events import Relation, Unit

_STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, strict=True)]
Bits = Literal[16, 32]


@with_config(_STRICT)
@dataclass(frozen=True)
class Component:
    """A class of anybody's: a short name, its dotted path, and the options it is made with."""

    name: str
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)


@with_config(_STRICT)
@dataclass(frozen=True)
class ModelSettings:
    """The shared model: architecture, what trains, and where its pretrained weights come from.

    `weights` is the path of pretrained weights, or None to pretrain on the domain's public pool
    (where it has one).
    """

    architecture: Component
    train: Train = Train.HEAD
    weights: str | None = None
    pretraining: Pretraining | None = None


@with_config(_STRICT)
@dataclass(frozen=True)
class Training:
    """Rounds and local steps; every number is public and fixed before the first round.

    Parameters
    ----------
    rounds
        Number of rounds.
    local_steps
        Steps of gradient descent at a site in a round.
    batch_size
        Expected number of rows in a step at a site, or 'full' for all. A site whose declared size
        is smaller takes all its rows.
    learning_rate
        Step size at the site.
    optimizer
        What a site makes of a step's gradient; its state begins anew in every round.
    cohort
        How many sites take part in a round, drawn so that all take part equally often, or 'all'.
    min_replies
        Fewest replies with which a round counts, or 'all' of the cohort.
    """

    rounds: Count
    local_steps: Count
    batch_size: Count | Literal["full"]
    learning_rate: Positive
    optimizer: LocalOptimizer = LocalOptimizer.SGD
    cohort: Count | Literal["all"] = "all"
    min_replies: Count | Literal["all"] = "all"


class NoiseBy(StrEnum):
    """Who adds the noise that protects whole clients."""

    COORDINATOR = "coordinator"
    """It is trusted with the exact sum and, where there is no secure sum, with each update."""
    CLIENTS = "clients"
    """Each adds its share, and only the sum is seen."""


class SecureAggregation(StrEnum):
    """Whether the coordinator sees the sum of what sites send, and nothing else of it."""

    AUTO = "auto"
    """In a deployment of four or more sites, and wherever the privacy needs it there."""
    REQUIRED = "required"
    """Always, also in a simulation; never with fewer than three sites."""
    OFF = "off"
    """It sees what each site sends."""


class NoiseSource(StrEnum):
    """Where noise comes from when it is not seeded."""

    SYSTEM = "system"


@with_config(_STRICT)
@dataclass(frozen=True)
class RecordPrivacy:
    """Differential privacy for each record at each site, by DP-SGD at the site.

    Parameters
    ----------
    epsilon, delta
        Budget of the run at every site.
    clipping_norm
        Largest L2 norm C of one record's gradient.
    unit
        Whose presence is hidden; 'record' is what there is.
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
    """Differential privacy for each record, by noise that the sites make together.

    Each adds its share of discrete noise to its part of a secure sum; one gradient step is one sum.

    Parameters
    ----------
    epsilon, delta
        Budget of the run at every site, as long as `colluders` sites at most give their shares
        away, with the fewest replies with which a round counts (training.min_replies).
    clipping_norm
        Largest L2 norm C of one record's gradient.
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


def protected(privacy: AnyPrivacy) -> tuple[Unit, Relation]:
    """Return whose presence a privacy hides, between which data sets; without any, a record's."""
    if isinstance(privacy, ClientPrivacy):
        return Unit.CLIENT, Relation.REPLACE_WITH_ZERO
    return Unit.RECORD, Relation.ADD_OR_REMOVE_ONE


class Precision(StrEnum):
    """Type of forward and backward passes; trainable weights are fp32 throughout."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class EngineKind(StrEnum):
    """How simulated sites are trained."""

    STACKED = "stacked"
    """A whole cohort in one computation, where the model allows it; else as `LOOP`."""
    LOOP = "loop"
    """One site after another, by Opacus: the reference."""
    RAY = "ray"
    """Flower's own simulation, one site a call."""
    AUTO = "auto"
    """The faster of `STACKED` and `LOOP`."""


@with_config(_STRICT)
@dataclass(frozen=True)
class EngineSettings:
    """How simulated sites are computed.

    Parameters
    ----------
    kind
        Whether a cohort trains at once. A site of a deployment trains by itself, whatever it says.
    device
        'auto' takes a GPU where there is one, else the CPU; or a name that torch knows.
    precision
        Type of forward and backward passes.
    microbatch
        Most examples in one pass, or None for all at once.
    loss_scale
        Static scale of the loss, for fp16.
    threads
        CPU threads of torch; the same number gives the same bits.
    workers
        Processes that share the sites of a round, of `STACKED` or `RAY`; each takes a GPU of its
        own, where there are.
    chunk
        Most sites in one computation, or None for as many as memory holds.
    chosen
        What `AUTO` has found to be faster; None until a run has.
    """

    kind: EngineKind
    device: str = "auto"
    precision: Precision = Precision.FP32
    microbatch: Count | None = None
    loss_scale: Positive = 1.0
    threads: Count = 1
    workers: Count = 1
    chunk: Count | None = None
    chosen: EngineKind | None = None

    def __post_init__(self) -> None:
        if self.workers > 1 and self.kind not in (EngineKind.STACKED, EngineKind.RAY):
            raise ValueError(
                f"workers={self.workers} goes with engine=stacked or engine=ray, not with "
                f"engine={self.kind.value}"
            )
        if self.chunk is not None and self.kind in (EngineKind.LOOP, EngineKind.RAY):
            raise ValueError(
                f"chunk={self.chunk} does nothing with engine={self.kind.value}, which trains one "
                "site after another"
            )
        if self.chosen is not None and (
            self.kind is not EngineKind.AUTO
            or self.chosen not in (EngineKind.STACKED, EngineKind.LOOP)
        ):
            raise ValueError(
                f"chosen={self.chosen.value} is what engine=auto found, stacked or loop; it does "
                f"not go with engine={self.kind.value}"
            )


class DelayKind(StrEnum):
    """How long simulated sites take to reply."""

    NONE = "none"
    """No time at all."""
    EXPONENTIAL = "exponential"
    LOGNORMAL = "lognormal"


@with_config(_STRICT)
@dataclass(frozen=True)
class Availability:
    """Which of a round's sites are there, and which reply in time: simulation only.

    Parameters
    ----------
    dropout
        Chance that a site is not reached in a round: it is charged nothing.
    delay
        Distribution of the time that a site takes.
    delay_mean
        Its mean, in simulated seconds.
    delay_spread
        Standard deviation of the delay's logarithm, where it is log-normal.
    deadline
        Simulated seconds after which a reply is too late: the site is charged and its update lost.
    """

    dropout: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.0
    delay: DelayKind = DelayKind.NONE
    delay_mean: Positive = 1.0
    delay_spread: Positive = 1.0
    deadline: Positive | None = None

    def __post_init__(self) -> None:
        if (self.delay is DelayKind.NONE) != (self.deadline is None):
            raise ValueError(
                f"delay={self.delay.value} and deadline={self.deadline} go together: a delay does "
                "nothing without a deadline, nor a deadline without a delay"
            )

    @property
    def perfect(self) -> bool:
        """Whether every site of a round replies."""
        return not self.dropout and self.deadline is None


@with_config(_STRICT)
@dataclass(frozen=True)
class BaselineTraining:
    """Settings of one baseline, chosen by the same search as the run's own."""

    rounds: Count
    learning_rate: Positive
    clipping_norm: Positive = 1.0


@with_config(_STRICT)
@dataclass(frozen=True)
class Baselines:
    """Settings of the baselines that `compare` measures beside the run."""

    alone: BaselineTraining
    federated: BaselineTraining
    pooled: BaselineTraining


@with_config(_STRICT)
@dataclass(frozen=True)
class RunSettings:
    """Where a run is kept."""

    dir: str | None = None
    resume: str | None = None


@with_config(_STRICT)
@dataclass(frozen=True)
class Settings:
    """Everything a run depends on.

    Parameters
    ----------
    name
        Name of the experiment.
    seed
        Fixes initial weights and, unless `privacy.noise_seed` is set, noise and sampling.
    compare
        Whether the baselines are measured too.
    cache
        Folder for pretrained models and calibrated noise; None for the user's cache folder.
    secure_aggregation
        Whether only sums are seen.
    """

    name: str
    seed: Seed
    domain: Component
    model: ModelSettings
    strategy: Component
    training: Training
    privacy: Privacy
    engine: EngineSettings
    baselines: Baselines
    availability: Availability = field(default_factory=Availability)
    secure_aggregation: SecureAggregation = SecureAggregation.AUTO
    compare: bool = False
    cache: str | None = None
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        if not self.availability.perfect and self.training.min_replies == "all":
            raise ValueError(
                "training.min_replies=all: with availability.dropout or availability.deadline some "
                "replies are missing: set the fewest with which a round counts"
            )
        if isinstance(self.privacy, RecordPrivacy) and self.privacy.unit is not Unit.RECORD:
            raise ValueError(
                f"privacy.unit={self.privacy.unit.value} needs a domain whose rows name a person, "
                "and training that clips per person; there is none yet: use privacy.unit=record"
            )
