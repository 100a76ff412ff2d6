"""The vocabulary in which coordinator and sites speak: actions, record keys and requests.

A run goes: `ENROL` (who is there, and under which limits), `RESERVE` (the whole plan, before the
first round), then one training request a round, with `SECURE` before and after it where the server
is to see a sum only, and `END`. Flower's records carry it; this module
needs no Flower. Everything in a request is public, and so is what a site states of its policy.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from tacit.errors import ConfigurationError
from tacit.learning.plan import RoundPlan
from tacit.plan_fields import Scalar, flag, flat, plan_of, raw, reading, real, text, whole
from tacit.privacy.chain import Receipt

ENROL: Final = "enrol"
RESERVE: Final = "reserve"
SECURE: Final = "secure"
"""Action of a stage of a secure sum, and record of what a site or the coordinator says in it."""
END: Final = "end"
"""Actions of a query; training needs no name."""

ARRAYS: Final = "arrays"
CONFIG: Final = "config"
METRICS: Final = "metrics"
LEDGER: Final = "ledger"
"""Record of a reply: count and head of the site's ledger, which the coordinator keeps."""
SUM: Final = "sum"
"""The one array of a reply that is part of a sum: residues [d], the weights in their order; or, in
a secure sum, the bytes of the masked message."""
SITE: Final = "site"
"""Record of a reply: the site's name and its limits."""
WEIGHT: Final = "num-examples"
"""Flower's key for a site's weight in an average; here always its declared size."""


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
        with reading(config) as rest:
            return cls._taken(rest)

    @classmethod
    def _taken(cls, rest: dict[str, object]) -> "Terms":
        domain, model, strategy = (text(rest.pop(key)) for key in ("domain", "model", "strategy"))
        return cls(domain, model, strategy, whole(rest.pop("others")))


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
        with reading(config) as rest:
            limits = cls(
                epsilon=real(rest.pop("epsilon")),
                delta=real(rest.pop("delta")),
                least_noise_multiplier=real(rest.pop("least-noise-multiplier")),
                most_rounds=whole(rest.pop("most-rounds")),
                predictable=flag(rest.pop("predictable")),
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
            **flat(self.plan),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "RunRequest":
        """Read what `to_config` wrote.

        Raises
        ------
        ConfigurationError
            A key is missing, unknown or of another type.
        """
        with reading(config) as rest:
            return cls(
                run=text(rest.pop("run")),
                rounds=whole(rest.pop("rounds")),
                epsilon=real(rest.pop("epsilon")),
                delta=real(rest.pop("delta")),
                terms=Terms._taken(rest),
                plan=plan_of(rest),
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
    secure
        Number of the secure sum that the reply goes into, counted from 1; 0 without one.
    """

    run: str
    round: int
    rounds: int
    model: str
    plan: RoundPlan
    receipt: Receipt
    secure: int = 0

    def to_config(self) -> dict[str, Scalar]:
        """Flatten to scalars for a config record; what is None is left out."""
        return {
            "run": self.run,
            "server-round": self.round,
            "rounds": self.rounds,
            "model": self.model,
            "secure": self.secure,
            "receipt-count": self.receipt.count,
            "receipt-head": self.receipt.head,
            **flat(self.plan),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "TrainRequest":
        """Read what `to_config` wrote.

        Raises
        ------
        ConfigurationError
            A key is missing, unknown or of another type, or the round is not of the run.
        """
        with reading(config) as rest:
            request = cls(
                run=text(rest.pop("run")),
                round=whole(rest.pop("server-round")),
                rounds=whole(rest.pop("rounds")),
                model=text(rest.pop("model")),
                receipt=Receipt(whole(rest.pop("receipt-count")), text(rest.pop("receipt-head"))),
                plan=plan_of(rest),
                secure=whole(rest.pop("secure")),
            )
        if not 1 <= request.round <= request.rounds:
            raise ConfigurationError(
                f"a request is for round {request.round} of {request.rounds}: rounds count from 1"
            )
        if request.secure < 0:
            raise ConfigurationError(f"secure={request.secure} of a request is no number of a sum")
        return request


class SecureStage(StrEnum):
    """What a site is asked in a secure sum; between `SHARE` and `AGREE` it trains."""

    ADVERTISE = "advertise"
    SHARE = "share"
    AGREE = "agree"
    REVEAL = "reveal"
    GIVEN_UP = "given_up"
    """Nothing more: too few sites were left. What was charged stays charged."""


@dataclass(frozen=True, slots=True)
class SecureRequest:
    """What the coordinator asks of one site in a stage of a secure sum.

    Parameters
    ----------
    run
        The run's identity.
    number
        Which of the run's sums, counted from 1; one that was given up has its number too.
    stage
        What is asked.
    content
        At `ADVERTISE` what all sites agree on, `tacit.joint_plan.JointPlan.text`; then what
        `tacit.secagg.server.Server` gives; why, at `GIVEN_UP`.
    weights
        At `ADVERTISE` the SHA-256 of the round's global weights.
    """

    run: str
    number: int
    stage: SecureStage
    content: bytes
    weights: str = ""

    def to_config(self) -> dict[str, Scalar | bytes]:
        """Flatten for a config record."""
        return {
            "run": self.run,
            "number": self.number,
            "stage": self.stage.value,
            "content": self.content,
            "weights": self.weights,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "SecureRequest":
        """Read what `to_config` wrote.

        Raises
        ------
        ConfigurationError
            A key is missing, unknown or of another type.
        """
        with reading(config) as rest:
            return cls(
                run=text(rest.pop("run")),
                number=whole(rest.pop("number")),
                stage=SecureStage(text(rest.pop("stage"))),
                content=raw(rest.pop("content")),
                weights=text(rest.pop("weights")),
            )


def request_hash(config: Mapping[str, object], weights_sha256: str) -> str:
    """Identify a request by all it asks and the weights it came with.

    The receipt is left out: it says what the coordinator knows, not what it asks.
    """
    asked = {k: v for k, v in sorted(config.items()) if not k.startswith("receipt-")}
    return sha256(f"{asked!r}|{weights_sha256}".encode()).hexdigest()
