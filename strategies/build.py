"""A Flower strategy by the name of its class, for a cohort that the coordinator chooses."""

from collections.abc import Mapping
from inspect import signature
from pydoc import ErrorDuringImport, locate
from typing import Final

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, FedProx, Strategy

from strategies.limits import ROBUST, check_numbers
from tacit.components import make
from tacit.errors import ConfigurationError
from tacit.refused import STRATEGIES
from tacit.settings import Component

# Every node that the grid shows is asked. Which ones it shows is the round loop's choice: Flower
# would draw them from Python's global random state.
_WHOLE_COHORT: Final = {"fraction_train": 1.0, "min_train_nodes": 1, "min_available_nodes": 1}

_NOT_TO_CHOOSE: Final[Mapping[str, str]] = {
    **dict.fromkeys(signature(FedAvg).parameters, "the run's plan says who is asked"),
    "selection_rule": "Bulyan chooses by Krum",
    "eta_l": "Flower does not use it; the sites' rate is training.learning_rate",
}

FEDAVG: Final = Component("fedavg", "strategies.mean.FedAvg")


def build_strategy(component: Component) -> Strategy:
    """Make a strategy.

    Raises
    ------
    ConfigurationError
        There is no such class, it is no strategy, it does not take these options, or it is one
        that cannot be had here: the message says why.
    """
    for name, why in _NOT_TO_CHOOSE.items():
        if name in component.options:
            raise ConfigurationError(f"strategy.{name} cannot be set: {why}")
    try:
        _refuse(locate(component.target), component)
        made = make("strategy", component, **_WHOLE_COHORT)
    except ErrorDuringImport as error:
        raise ConfigurationError(f"strategy._target_={component.target}: {error}") from error
    except ValueError as error:
        raise ConfigurationError(f"strategy={component.name}: {error}") from error
    if not isinstance(made, Strategy):
        raise ConfigurationError(f"strategy._target_={component.target} is no Flower strategy")
    _refuse(type(made), component)
    check_numbers(made)
    return made


def by_itself(component: Component) -> Component:
    """Return the strategy for one site alone: nobody to choose among, no shared model to stay near.

    Server optimisers stay what they are.
    """
    lost = isinstance(build_strategy(component), FedProx | ROBUST)
    return FEDAVG if lost else component


def proximal_mu(strategy: Strategy) -> float:
    """Return μ of FedProx, which sites apply; 0 for every other strategy."""
    return float(strategy.proximal_mu) if isinstance(strategy, FedProx) else 0.0


def _refuse(kind: object, component: Component) -> None:
    """Refuse a class, and whatever inherits from it, that asks for what nobody may have."""
    for name, why in STRATEGIES.items():
        if isinstance(kind, type) and issubclass(kind, getattr(flower, name)):
            raise ConfigurationError(f"strategy._target_={component.target} is refused: {why}")
