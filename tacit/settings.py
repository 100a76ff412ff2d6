"""The settings of a run, as values: what a configuration may say and what it means.

Every option of a group has a dataclass with its `kind`; what happens follows the kind, never the
absence of a key. `tacit.configuration` reads a plain mapping (of YAML) into these.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, with_config

from tacit.learning.plan import LocalOptimizer
from tacit.models.adapters import Lora
from tacit.models.pretraining import Pretraining
from tacit.models.trainable import Train
from tacit.privacy.events import Unit
from tacit.privacy_settings import (
    NoPrivacy,
    Positive,
    Privacy,
    RecordPrivacy,
    Seed,
    SharedNoisePrivacy,
    protected,
)

_STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

Count = Annotated[int, Field(ge=1, strict=True)]


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
    (where it has one). `name` and `sha256` are of a model that others have pretrained, for an
    architecture that loads it. `train_pattern` says what trains with ``train=regex``, and `lora`
    how thin the matrices of ``lora`` and ``ffa_lora`` are. `balanced` lets it learn as if all
    classes were equally common.
    """

    architecture: Component
    train: Train = Train.HEAD
    name: str | None = None
    sha256: str | None = None
    train_pattern: str | None = None
    lora: Lora = field(default_factory=Lora)
    balanced: bool = False
    weights: str | None = None
    pretraining: Pretraining | None = None

    def __post_init__(self) -> None:
        if (self.train is Train.REGEX) != (self.train_pattern is not None):
            raise ValueError(
                f"train={self.train.value} and train_pattern={self.train_pattern}: a pattern says "
                "what trains with model.train=regex, and goes with nothing else"
            )
        try:
            re.compile(self.train_pattern or "")
        except re.error as error:
            raise ValueError(
                f"train_pattern={self.train_pattern}: is no regular expression: {error}"
            ) from error


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
        Expected number of rows in a step at a site, or of persons where a person is the unit;
        'full' for all. A site that declares fewer takes all that it has.
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


class SecureAggregation(StrEnum):
    """Whether the coordinator sees the sum of what sites send, and nothing else of it."""

    AUTO = "auto"
    """In a deployment of four or more sites, and wherever the privacy needs it there."""
    REQUIRED = "required"
    """Always, also in a simulation; never with fewer than three sites."""
    OFF = "off"
    """It sees what each site sends."""


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
    audit
        What attacks a simulated run while it trains; None for nothing.
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
    audit: Component | None = None

    def __post_init__(self) -> None:
        if not self.availability.perfect and self.training.min_replies == "all":
            raise ValueError(
                "training.min_replies=all: with availability.dropout or availability.deadline some "
                "replies are missing: set the fewest with which a round counts"
            )
        if self.audit is not None:
            self._check_audit(self.audit)
        if (
            isinstance(self.privacy, RecordPrivacy | SharedNoisePrivacy)
            and self.privacy.unit is Unit.CLIENT
        ):
            raise ValueError(
                f"privacy.unit=client with privacy={self.privacy.kind}: a client is the unit of "
                "privacy=client_level; here it is a record or a person"
            )

    def _check_audit(self, audit: Component) -> None:
        """Refuse canaries where no record's presence is hidden, or no one place hears them."""
        if protected(self.privacy)[0] is Unit.CLIENT or isinstance(self.privacy, NoPrivacy):
            raise ValueError(
                f"audit={audit.name} with privacy={self.privacy.kind}: its canaries are "
                "records, or persons, whose presence is hidden: use privacy=record or "
                "privacy=shared_noise; tacit-audit has canary clients"
            )
        if self.engine.kind is EngineKind.RAY or self.engine.workers > 1:
            raise ValueError(
                f"audit={audit.name} with engine={self.engine.kind.value} and "
                f"engine.workers={self.engine.workers}: canaries are heard in one process: use "
                "engine=stacked, loop or auto with engine.workers=1"
            )
