"""The vocabulary in which coordinator and sites speak: actions, record keys and requests.

A run goes: `ENROL` (who is there, and under which limits), `RESERVE` (the whole plan, before the
first round), then one training request a round, and `END`. Flower's records carry it; this module
needs no Flower. Everything in a request is public, and so is what a site states of its policy.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from tacit.errors import ConfigurationError
from tacit.learning.plan import LocalOptimizer, RoundPlan, Share
from tacit.privacy.chain import Receipt
from tacit.privacy.events import Unit

ENROL: Final = "enrol"
RESERVE: Final = "reserve"
END: Final = "end"
"""Actions of a query; training needs no name."""

ARRAYS: Final = "arrays"
CONFIG: Final = "config"
METRICS: Final = "metrics"
LEDGER: Final = "ledger"
"""Record of a reply: count and head of the site's ledger, which the coordinator keeps."""
SUM: Final = "sum"
"""The one array of a reply that is part of a sum: residues [d], the weights in their order."""
SITE: Final = "site"
"""Record of a reply: the site's name and its limits."""
WEIGHT: Final = "num-examples"
"""Flower's key for a site's weight in an average; here always its declared size."""

NAMED: Final = 4
"""How many of many names an error shows."""

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run is about, for a site that allows some things and not others.

    Parameters
    ----------
    domain
        Name of the domain.
    model
        SHA-256 of what does not travel: architecture, frozen weights, choice of what trains.
    strategy
        Name of the rule that combines the sites' updates.
    others
        Other sites among whose updates a secure sum hides each one; 0 without a secure sum.
    """

    domain: str
    model: str
    strategy: str
    others: int = 0

    def to_config(self) -> dict[str, Scalar]:
        """Flatten to scalars for a config record."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "Terms":
        """Read what `to_config` wrote.

        Raises
        ------
        ConfigurationError
            A key is missing, unknown or of another type.
        """
        with _reading(config) as rest:
            return cls._taken(rest)

    @classmethod
    def _taken(cls, rest: dict[str, object]) -> "Terms":
        domain, model, strategy = (_text(rest.pop(key)) for key in ("domain", "model", "strategy"))
        return cls(domain, model, strategy, _whole(rest.pop("others")))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a site states of its policy, so that a plan can meet it.

    Parameters
    ----------
    epsilon, delta
        The most that one run may cost.
    least_noise_multiplier
        Smallest σ.
    most_rounds
        Most rounds of a run; 0 for any number.
    predictable
        Whether somebody could recompute its noise, because its data are marked as test data.
    """

    epsilon: float
    delta: float
    least_noise_multiplier: float
    most_rounds: int
    predictable: bool

    def to_config(self) -> dict[str, Scalar]:
        """Flatten to scalars for a config record."""
        return {key.replace("_", "-"): value for key, value in asdict(self).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "Limits":
        """Read what `to_config` wrote.

        Raises
        ------
        ConfigurationError
            A key is missing, unknown, of another type or out of range.
        """
        with _reading(config) as rest:
            limits = cls(
                epsilon=_real(rest.pop("epsilon")),
                delta=_real(rest.pop("delta")),
                least_noise_multiplier=_real(rest.pop("least-noise-multiplier")),
                most_rounds=_whole(rest.pop("most-rounds")),
                predictable=_flag(rest.pop("predictable")),
            )
        usable = (
            limits.epsilon > 0
            and 0 < limits.delta < 1
            and 0 <= limits.least_noise_multiplier < math.inf
            and limits.most_rounds >= 0
        )
        if not usable:
            raise ConfigurationError(f"a site states limits that cannot be: {limits}")
        return limits


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What the coordinator asks of one site before a run: to set the whole of it aside.

    Parameters
    ----------
    run
        The run's identity.
    rounds
        How many rounds there may be.
    terms
        What it is about.
    plan
        What the site is to compute in each round.
    epsilon, delta
        What the run may cost the site; infinite and 0 without privacy.
    """

    run: str
    rounds: int
    terms: Terms
    plan: RoundPlan
    epsilon: float
    delta: float

    def to_config(self) -> dict[str, Scalar]:
        """Flatten to scalars for a config record; what is None is left out."""
        return {
            "run": self.run,
            "rounds": self.rounds,
            "epsilon": self.epsilon,
            "delta": self.delta,
            **self.terms.to_config(),
            **_flat(self.plan),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "RunRequest":
        """Read what `to_config` wrote.

        Raises
        ------
        ConfigurationError
            A key is missing, unknown or of another type.
        """
        with _reading(config) as rest:
            return cls(
                run=_text(rest.pop("run")),
                rounds=_whole(rest.pop("rounds")),
                epsilon=_real(rest.pop("epsilon")),
                delta=_real(rest.pop("delta")),
                terms=Terms._taken(rest),
                plan=_plan(rest),
            )


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What the coordinator asks of one site in one round.

    Parameters
    ----------
    run
        The run's identity.
    round, rounds
        This round, counted from 1, and how many the plan has.
    model
        SHA-256 of what does not travel: architecture, frozen weights, choice of what trains.
    plan
        What the site is to compute.
    receipt
        The site's own ledger as the coordinator last saw it.
    """

    run: str
    round: int
    rounds: int
    model: str
    plan: RoundPlan
    receipt: Receipt

    def to_config(self) -> dict[str, Scalar]:
        """Flatten to scalars for a config record; what is None is left out."""
        return {
            "run": self.run,
            "server-round": self.round,
            "rounds": self.rounds,
            "model": self.model,
            "receipt-count": self.receipt.count,
            "receipt-head": self.receipt.head,
            **_flat(self.plan),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "TrainRequest":
        """Read what `to_config` wrote.

        Raises
        ------
        ConfigurationError
            A key is missing, unknown or of another type, or the round is not of the run.
        """
        with _reading(config) as rest:
            request = cls(
                run=_text(rest.pop("run")),
                round=_whole(rest.pop("server-round")),
                rounds=_whole(rest.pop("rounds")),
                model=_text(rest.pop("model")),
                receipt=Receipt(_whole(rest.pop("receipt-count")), _text(rest.pop("receipt-head"))),
                plan=_plan(rest),
            )
        if not 1 <= request.round <= request.rounds:
            raise ConfigurationError(
                f"a request is for round {request.round} of {request.rounds}: rounds count from 1"
            )
        return request


def request_hash(config: Mapping[str, object], weights_sha256: str) -> str:
    """Identify a request by all it asks and the weights it came with.

    The receipt is left out: it says what the coordinator knows, not what it asks.
    """
    asked = {k: v for k, v in sorted(config.items()) if not k.startswith("receipt-")}
    return sha256(f"{asked!r}|{weights_sha256}".encode()).hexdigest()


def first(names: Sequence[str]) -> str:
    """Name a few of many."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


@contextmanager
def _reading(config: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """Give a copy of a config record to be taken apart; nothing may be left of it."""
    rest = dict(config)
    try:
        yield rest
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ConfigurationError(f"a request cannot be read: {error!r}") from error
    if rest:
        raise ConfigurationError(f"a request has unknown keys: {first(sorted(rest))}")


def _flat(plan: RoundPlan) -> dict[str, Scalar]:
    """Flatten a plan; what is None is left out."""
    fields = asdict(plan)
    share = fields.pop("share") or {}
    fields |= {f"share_{name}": value for name, value in share.items()}
    return {
        # Plain text, as it arrives: `request_hash` is the same on both sides of the wire.
        f"plan-{name.replace('_', '-')}": value.value if isinstance(value, StrEnum) else value
        for name, value in fields.items()
        if value is not None
    }


def _plan(rest: dict[str, object]) -> RoundPlan:
    """Take a plan's keys out of a config record."""
    clip, sigma = rest.pop("plan-clipping-norm", None), rest.pop("plan-noise-multiplier", None)
    return RoundPlan(
        steps=_whole(rest.pop("plan-steps")),
        sampling_rate=_real(rest.pop("plan-sampling-rate")),
        divisor=_real(rest.pop("plan-divisor")),
        learning_rate=_real(rest.pop("plan-learning-rate")),
        clipping_norm=None if clip is None else _real(clip),
        noise_multiplier=None if sigma is None else _real(sigma),
        unit=Unit(_text(rest.pop("plan-unit"))),
        proximal_mu=_real(rest.pop("plan-proximal-mu")),
        optimizer=LocalOptimizer(_text(rest.pop("plan-optimizer"))),
        share=_share(rest),
    )


def _share(rest: dict[str, object]) -> Share | None:
    if not any(key.startswith("plan-share-") for key in rest):
        return None
    return Share(
        bits=_whole(rest.pop("plan-share-bits")),
        spacing=_real(rest.pop("plan-share-spacing")),
        dimension=_whole(rest.pop("plan-share-dimension")),
        sites=_whole(rest.pop("plan-share-sites")),
        largest=_whole(rest.pop("plan-share-largest")),
        variance=_real(rest.pop("plan-share-variance")),
        honest=_whole(rest.pop("plan-share-honest")),
        weight=_real(rest.pop("plan-share-weight")),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _real(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
