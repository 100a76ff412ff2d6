"""Which numbers a strategy may be given, and what it needs of a run to do what it says."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from flwr.serverapp.strategy import (
    Bulyan,
    FedAdagrad,
    FedAdam,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    MultiKrum,
    Strategy,
)

from tacit.errors import ConfigurationError
from tacit.privacy_settings import ClientPrivacy, SharedNoisePrivacy
from tacit.settings import Settings

ROBUST: Final = FedMedian | FedTrimmedAvg | MultiKrum | Bulyan
"""Rules that choose among sites, so that a few of them cannot bend the result at will."""

_Check = tuple[Callable[[Any], bool], str]
_POSITIVE: Final[_Check] = (lambda value: 0 < value < math.inf, "more than 0")
_DECAY: Final[_Check] = (lambda value: 0 <= value < 1, "at least 0 and less than 1")
_SOME: Final[_Check] = (lambda value: value >= 1 and isinstance(value, int), "1 or more, whole")
_NONE_OR_SOME: Final[_Check] = (
    lambda value: value >= 0 and isinstance(value, int),
    "0 or more, whole",
)

_ADAPTIVE: Final[Mapping[str, _Check]] = {
    "eta": _POSITIVE,
    "tau": _POSITIVE,
    "beta_1": _DECAY,
    "beta_2": _DECAY,
}
_NUMBERS: Final[Mapping[type[Strategy], Mapping[str, _Check]]] = {
    FedAdagrad: _ADAPTIVE,
    FedAdam: _ADAPTIVE,
    FedYogi: _ADAPTIVE,
    FedAvgM: {"server_learning_rate": _POSITIVE, "server_momentum": _DECAY},
    FedProx: {"proximal_mu": _POSITIVE},
    MultiKrum: {"num_malicious_nodes": _NONE_OR_SOME, "num_nodes_to_select": _SOME},
    Bulyan: {"num_malicious_nodes": _NONE_OR_SOME},
    FedTrimmedAvg: {"beta": (lambda value: 0 < value < 0.5, "more than 0 and less than 0.5")},
}


def check_numbers(strategy: Strategy) -> None:
    """Refuse a number that a strategy of Flower's would take and could do nothing with.

    Raises
    ------
    ConfigurationError
        Names the option, the value and what it must be.
    """
    for kind, numbers in _NUMBERS.items():
        if not isinstance(strategy, kind):
            continue
        for name, (right, words) in numbers.items():
            value = getattr(strategy, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and right(value)):
                raise ConfigurationError(f"strategy.{name}={value}: must be {words}")


def check_run(strategy: Strategy, settings: Settings, sites: int, *, secure: bool) -> None:
    """Refuse a strategy that cannot do its work in a run.

    Parameters
    ----------
    sites
        How many a round asks.
    secure
        Whether only their sum is seen.

    Raises
    ------
    ConfigurationError
        A round may count with fewer replies than the strategy's rule needs, the rule is not linear
        and only a sum is seen, or FedProx has no
        local steps to hold together or would pull past the model that it pulls to.
    """
    training = settings.training
    summed = isinstance(settings.privacy, ClientPrivacy | SharedNoisePrivacy)
    if summed and isinstance(strategy, ROBUST):
        raise ConfigurationError(
            f"strategy={settings.strategy.name} chooses among the sites' own updates, and with "
            f"privacy={settings.privacy.kind} nothing but their noised sum may be looked at: "
            "choose strategy=fedavg, or one that goes on from a mean (fedavgm, fedadam)"
        )
    if secure and isinstance(strategy, ROBUST):
        raise ConfigurationError(
            f"strategy={settings.strategy.name} chooses among the sites' own updates, which is not "
            "linear, and a secure sum shows their sum alone: choose strategy=fedavg or one that "
            "goes on from a mean (fedavgm, fedadam), or secure_aggregation=off"
        )
    replies = sites if training.min_replies == "all" else training.min_replies
    needed, why = fewest_replies(strategy)
    if replies < needed:
        named = f"{sites} sites" if replies == sites else f"training.min_replies={replies}"
        raise ConfigurationError(
            f"strategy={settings.strategy.name} needs at least {needed} replies in every round "
            f"({why}), and with {named} a round counts with {replies}: change that number, or "
            f"choose strategy=fedavg"
        )
    if not isinstance(strategy, FedProx):
        return
    if training.local_steps == 1:
        raise ConfigurationError(
            "strategy=fedprox does nothing with training.local_steps=1: the only step begins where "
            "it would be pulled back to. Use 2 or more local steps, or strategy=fedavg"
        )
    rates = {"training": training.learning_rate}
    if settings.compare:
        rates["baselines.federated"] = settings.baselines.federated.learning_rate
    for where, rate in rates.items():
        if rate * strategy.proximal_mu > 1:
            raise ConfigurationError(
                f"strategy.proximal_mu={strategy.proximal_mu:g} with {where}.learning_rate="
                f"{rate:g} pulls past the round's first weights: use at most {1 / rate:g}"
            )


def fewest_replies(strategy: Strategy) -> tuple[int, str]:
    """Return the fewest replies with which a rule does what it says, and where that stands."""
    if isinstance(strategy, Bulyan):
        bad = strategy.num_malicious_nodes
        # El Mhamdi et al. 2018, section 4.
        return 4 * bad + 3, f"4f + 3 for strategy.num_malicious_nodes={bad}"
    if isinstance(strategy, MultiKrum):
        bad, chosen = strategy.num_malicious_nodes, strategy.num_nodes_to_select
        if chosen <= bad + 1:
            # Blanchard et al. 2017, section 4: n > 2f + 2.
            return 2 * bad + 3, f"2f + 3 for strategy.num_malicious_nodes={bad}"
        # Damaskinos et al. 2019 ("AggregaThor"): m is n - f - 2 at most.
        return chosen + bad + 2, (
            f"m + f + 2 for strategy.num_nodes_to_select={chosen} and "
            f"strategy.num_malicious_nodes={bad}"
        )
    if isinstance(strategy, FedTrimmedAvg):
        return math.ceil(1 / strategy.beta), f"strategy.beta={strategy.beta:g} of fewer is none"
    if isinstance(strategy, FedMedian):
        return 3, "the median of fewer is their mean"
    return 1, ""
