"""The settings of a run, as values: what a configuration may say and what it means.

Every option of a group has a dataclass with its `kind`; what happens follows the kind, never the
absence of a key. `read` turns a plain mapping (of YAML) into these and names the key of any error.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from tacit.errors import ConfigurationError
from tacit.models.pretraining import Pretraining
from tacit.models.trainable import Train
from tacit.privacy.events import Unit

_STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, strict=True)]


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
    min_replies
        Fewest replies with which a round counts, or 'all'.
    """

    rounds: Count
    local_steps: Count
    batch_size: Count | Literal["full"]
    learning_rate: Positive
    min_replies: Count | Literal["all"] = "all"


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
    noise_seed
        Seed of noise and sampling (simulation only); None follows the run's seed; 'system' takes
        noise that nobody can recompute.
    """

    kind: Literal["record"]
    epsilon: Positive
    delta: Annotated[float, Field(gt=0, lt=1, strict=True)]
    clipping_norm: Positive
    unit: Unit = Unit.RECORD
    noise_seed: Seed | NoiseSource | None = None


@with_config(_STRICT)
@dataclass(frozen=True)
class NoPrivacy:
    """No privacy at all: a baseline, for simulations."""

    kind: Literal["none"]


Privacy = Annotated[RecordPrivacy | NoPrivacy, Field(discriminator="kind")]


class Precision(StrEnum):
    """Type of forward and backward passes; trainable weights are fp32 throughout."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


@with_config(_STRICT)
@dataclass(frozen=True)
class EngineSettings:
    """How simulated sites are computed.

    Parameters
    ----------
    kind
        'loop': one site after another.
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
    """

    kind: Literal["loop"]
    device: str = "auto"
    precision: Precision = Precision.FP32
    microbatch: Count | None = None
    loss_scale: Positive = 1.0
    threads: Count = 1


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
    compare: bool = False
    cache: str | None = None
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        if isinstance(self.privacy, RecordPrivacy) and self.privacy.unit is not Unit.RECORD:
            raise ValueError(
                f"privacy.unit={self.privacy.unit.value} needs a domain whose rows name a person, "
                "and training that clips per person; there is none yet: use privacy.unit=record"
            )


def read(mapping: Mapping[str, Any]) -> Settings:
    """Read settings from a plain mapping.

    Raises
    ------
    ConfigurationError
        A key is unknown, missing or out of range; the message names it and the value.
    """
    try:
        return TypeAdapter(Settings).validate_python(_with_components(mapping))
    except ValidationError as error:
        raise ConfigurationError(_in_words(error)) from error


def _with_components(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Gather ``_target_`` and its options into a `Component` wherever they stand."""
    found = {**mapping}
    for group in ("domain", "strategy"):
        found[group] = _component(mapping.get(group))
    model = mapping.get("model")
    if isinstance(model, Mapping):
        found["model"] = {**model, "architecture": _component(model.get("architecture"))}
    return found


def _component(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    options = {key: value for key, value in node.items() if key not in ("_target_", "name")}
    found = {"name": node.get("name"), "target": node.get("_target_"), "options": options}
    return {key: value for key, value in found.items() if value is not None}


_UNION_BRANCH = re.compile(r"record|none|(str-)?enum.*|literal\[.*|constrained-.*|.*\(.*")
"""How pydantic names the branch of a union in the place of an error: not a key of ours."""


_MUST_BE: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text (write ./NAME where the name of a file is a number)",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dataclass_type": "a group of keys",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt:g}",
}
"""What a value must be, by pydantic's type of error; the fields are of the error's context."""


def _in_words(error: ValidationError) -> str:
    """Say a sentence for each key, also where a value could have been one of several kinds."""
    wanted: dict[str, list[str]] = {}
    for each in error.errors():
        parts = ["_target_" if part == "target" else str(part) for part in each["loc"]]
        key = ".".join(part for part in parts if not _UNION_BRANCH.fullmatch(part))
        if each["type"] in _MUST_BE:
            must_be = _MUST_BE[each["type"]].format(**each.get("ctx", {}))
            wanted.setdefault(f"{key}{_shown(each['input'])}: must be ", []).append(must_be)
        elif each["type"] == "unexpected_keyword_argument":
            wanted[f"{key}: there is no such key"] = []
        elif each["type"] == "missing":
            wanted[f"{key}: must be set"] = []
        else:
            message = each["msg"].removeprefix("Value error, ")
            wanted[f"{key}: {message}" if key else message] = []
    return "; ".join(said + " or ".join(kinds) for said, kinds in wanted.items())


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ""
    return f"={json.dumps(value) if value is None or isinstance(value, bool) else value}"
