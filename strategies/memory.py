"""What a strategy remembers between rounds, for a checkpoint.

Flower's adaptive strategies keep their moments as dictionaries of arrays in attributes; nothing
else of a strategy changes from round to round.
"""

from collections.abc import Mapping

import numpy as np
from flwr.serverapp.strategy import Strategy

from tacit.errors import RunDirectoryError
from tacit.models.trainable import Weights

Memory = dict[str, np.ndarray]
"""Arrays by ``ATTRIBUTE/PARAMETER``."""


def remembered(strategy: Strategy, weights: Weights) -> Memory:
    """Copy out every attribute that holds one array for each weight, apart from the weights."""
    memory: Memory = {}
    for attribute, value in sorted(vars(strategy).items()):
        if attribute == "current_arrays" or not _is_moment(value, weights):
            continue
        memory.update({f"{attribute}/{name}": np.array(array) for name, array in value.items()})
    return memory


def recall(strategy: Strategy, memory: Mapping[str, np.ndarray]) -> None:
    """Put back what `remembered` copied.

    Raises
    ------
    RunDirectoryError
        The strategy has no such attribute: the checkpoint is another strategy's.
    """
    moments: dict[str, dict[str, np.ndarray]] = {}
    for key, array in memory.items():
        attribute, _, name = key.partition("/")
        moments.setdefault(attribute, {})[name] = np.array(array)
    for attribute, arrays in moments.items():
        if not hasattr(strategy, attribute):
            raise RunDirectoryError(
                f"the checkpoint holds {attribute!r}, which {type(strategy).__name__} has not: "
                f"it was written with another strategy"
            )
        setattr(strategy, attribute, arrays)


def _is_moment(value: object, weights: Weights) -> bool:
    return isinstance(value, dict) and value.keys() == weights.keys() and bool(weights)
