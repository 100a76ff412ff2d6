"""A Flower strategy by the name of its class, for a cohort that the coordinator chooses."""

from typing import Final

from flwr.serverapp.strategy import Strategy

from tacit.components import make
from tacit.errors import ConfigurationError
from tacit.settings import Component

# Every node that the grid shows is asked. Which ones it shows is the round loop's choice: Flower
# would draw them from Python's global random state.
_WHOLE_COHORT: Final = {"fraction_train": 1.0, "min_train_nodes": 1, "min_available_nodes": 1}


def build_strategy(component: Component) -> Strategy:
    """Make a strategy.

    Raises
    ------
    ConfigurationError
        There is no such class, it is no strategy, or it does not take these options.
    """
    made = make("strategy", component, **_WHOLE_COHORT)
    if not isinstance(made, Strategy):
        raise ConfigurationError(f"strategy._target_={component.target} is no Flower strategy")
    return made
