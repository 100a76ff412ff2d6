"""The vocabulary in which coordinator and sites speak: record keys and the training request.

Flower's records carry it; this module needs no Flower. Everything in a request is public.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Final

from tacit.errors import ConfigurationError
from tacit.learning.plan import RoundPlan
from tacit.privacy.chain import Receipt
from tacit.privacy.events import Unit

ARRAYS: Final = "arrays"
CONFIG: Final = "config"
METRICS: Final = "metrics"
LEDGER: Final = "ledger"
"""Record of a reply: count and head of the site's ledger, which the coordinator keeps."""
WEIGHT: Final = "num-examples"
"""Flower's key for a site's weight in an average; here always its declared size."""

Scalar = str | int | float


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
        flat: dict[str, Scalar] = {
            "run": self.run,
            "server-round": self.round,
            "rounds": self.rounds,
            "model": self.model,
            "receipt-count": self.receipt.count,
            "receipt-head": self.receipt.head,
        }
        for name, value in asdict(self.plan).items():
            if value is not None:
                # Plain text, as it arrives: `request_hash` is the same on both sides of the wire.
                plain = value.value if isinstance(value, Unit) else value
                flat[f"plan-{name.replace('_', '-')}"] = plain
        return flat

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "TrainRequest":
        """Read what `to_config` wrote.

        Raises
        ------
        ConfigurationError
            A key is missing, unknown or of another type, or the round is not of the run.
        """
        rest = dict(config)
        try:
            known = {f"plan-{f.name.replace('_', '-')}": f.name for f in fields(RoundPlan)}
            plan = {known[key]: rest.pop(key) for key in list(rest) if key.startswith("plan-")}
            request = cls(
                run=_text(rest.pop("run")),
                round=_whole(rest.pop("server-round")),
                rounds=_whole(rest.pop("rounds")),
                model=_text(rest.pop("model")),
                receipt=Receipt(_whole(rest.pop("receipt-count")), _text(rest.pop("receipt-head"))),
                plan=_plan(plan),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"a request cannot be read: {error!r}") from error
        if not 1 <= request.round <= request.rounds:
            raise ConfigurationError(
                f"a request is for round {request.round} of {request.rounds}: rounds count from 1"
            )
        if rest:
            raise ConfigurationError(f"a request has unknown keys: {', '.join(sorted(rest))}")
        return request


def request_hash(config: Mapping[str, object], weights_sha256: str) -> str:
    """Identify a request by all it asks and the weights it came with.

    The receipt is left out: it says what the coordinator knows, not what it asks.
    """
    asked = {k: v for k, v in sorted(config.items()) if not k.startswith("receipt-")}
    return sha256(f"{asked!r}|{weights_sha256}".encode()).hexdigest()


def _plan(given: Mapping[str, object]) -> RoundPlan:
    clip, sigma = given.get("clipping_norm"), given.get("noise_multiplier")
    return RoundPlan(
        steps=_whole(given["steps"]),
        sampling_rate=_real(given["sampling_rate"]),
        divisor=_real(given["divisor"]),
        learning_rate=_real(given["learning_rate"]),
        clipping_norm=None if clip is None else _real(clip),
        noise_multiplier=None if sigma is None else _real(sigma),
        unit=Unit(_text(given["unit"])),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _real(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
