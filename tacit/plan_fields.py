"""A plan as the flat scalars of a record, and the strict reading of such scalars."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import Final

from tacit.errors import ConfigurationError
from tacit.learning.plan import LocalOptimizer, Part, Persons, RoundPlan, Share, Within
from tacit.privacy.events import Unit

Scalar = str | int | float | bool

NAMED: Final = 4
"""How many of many names an error shows."""


def first(names: Sequence[str]) -> str:
    """Name a few of many."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


@contextmanager
def reading(config: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """Give a copy of a config record to be taken apart; nothing may be left of it."""
    rest = dict(config)
    try:
        yield rest
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ConfigurationError(f"a request cannot be read: {error!r}") from error
    if rest:
        raise ConfigurationError(f"a request has unknown keys: {first(sorted(rest))}")


def flat(plan: RoundPlan) -> dict[str, Scalar]:
    """Flatten a plan; what is None is left out."""
    fields = asdict(plan)
    for name in ("part", "share", "persons"):
        nested = fields.pop(name) or {}
        fields |= {f"{name}_{key}": value for key, value in nested.items()}
    return {
        # Plain text, as it arrives: `request_hash` is the same on both sides of the wire.
        f"plan-{name.replace('_', '-')}": value.value if isinstance(value, StrEnum) else value
        for name, value in fields.items()
        if value is not None
    }


def plan_of(rest: dict[str, object]) -> RoundPlan:
    """Take a plan's keys out of a config record."""
    clip, sigma = rest.pop("plan-clipping-norm", None), rest.pop("plan-noise-multiplier", None)
    return RoundPlan(
        steps=whole(rest.pop("plan-steps")),
        sampling_rate=real(rest.pop("plan-sampling-rate")),
        divisor=real(rest.pop("plan-divisor")),
        learning_rate=real(rest.pop("plan-learning-rate")),
        clipping_norm=None if clip is None else real(clip),
        noise_multiplier=None if sigma is None else real(sigma),
        unit=Unit(text(rest.pop("plan-unit"))),
        proximal_mu=real(rest.pop("plan-proximal-mu")),
        optimizer=LocalOptimizer(text(rest.pop("plan-optimizer"))),
        part=_part(rest),
        share=_share(rest),
        clip_factor=real(rest.pop("plan-clip-factor")),
        count_weight=real(rest.pop("plan-count-weight")),
        persons=_persons(rest),
    )


def _part(rest: dict[str, object]) -> Part | None:
    if not any(key.startswith("plan-part-") for key in rest):
        return None
    return Part(
        bits=whole(rest.pop("plan-part-bits")),
        spacing=real(rest.pop("plan-part-spacing")),
        dimension=whole(rest.pop("plan-part-dimension")),
        sites=whole(rest.pop("plan-part-sites")),
        largest=whole(rest.pop("plan-part-largest")),
        weight=real(rest.pop("plan-part-weight")),
    )


def _share(rest: dict[str, object]) -> Share | None:
    if not any(key.startswith("plan-share-") for key in rest):
        return None
    return Share(
        variance=real(rest.pop("plan-share-variance")),
        honest=whole(rest.pop("plan-share-honest")),
    )


def _persons(rest: dict[str, object]) -> Persons | None:
    if not any(key.startswith("plan-persons-") for key in rest):
        return None
    return Persons(
        rows=whole(rest.pop("plan-persons-rows")),
        within=Within(text(rest.pop("plan-persons-within"))),
    )


def text(value: object) -> str:
    """Take text; TypeError at anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def raw(value: object) -> bytes:
    """Take bytes; TypeError at anything else."""
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} is not bytes")
    return value


def flag(value: object) -> bool:
    """Take true or false; TypeError at anything else."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def whole(value: object) -> int:
    """Take a whole number; TypeError at anything else."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def real(value: object) -> float:
    """Take a number; TypeError at anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
