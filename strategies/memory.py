"""What a strategy remembers between rounds, for a checkpoint.

Flower's strategies keep their moments in attributes: as dictionaries with an array for each weight
(FedAdam and its kin) or as lists in the order of the weights (FedAvgM). Nothing else of them
changes from round to round but a copy of the weights, which they get again with the next round.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from flwr.serverapp.strategy import Strategy

from tacit.errors import RunDirectoryError
from tacit.models.trainable import Weights

Memory = dict[str, np.ndarray]
"""Arrays by ``ATTRIBUTE/PARAMETER``, or by ``ATTRIBUTE[INDEX]`` where they stand in a list."""

_LISTED: Final = re.compile(r"(\w+)\[(\d+)\]")


def remembered(strategy: Strategy, weights: Weights) -> Memory:
    """Copy out every attribute that holds one array for each weight, apart from the weights."""
    return {
        key: np.array(array)
        for attribute, value in sorted(vars(strategy).items())
        if attribute != "current_arrays"
        for key, array in _arrays(attribute, value, weights)
    }


def recall(strategy: Strategy, memory: Mapping[str, np.ndarray]) -> None:
    """Put back what `remembered` copied.

    Raises
    ------
    RunDirectoryError
        The strategy has no such attribute: the checkpoint is another strategy's.
    """
    named: dict[str, dict[str, np.ndarray]] = {}
    listed: dict[str, dict[int, np.ndarray]] = {}
    for key, array in memory.items():
        if found := _LISTED.fullmatch(key):
            listed.setdefault(found[1], {})[int(found[2])] = np.array(array)
        else:
            attribute, _, name = key.partition("/")
            named.setdefault(attribute, {})[name] = np.array(array)
    in_order = {each: [arrays[i] for i in sorted(arrays)] for each, arrays in listed.items()}
    for attribute, arrays in (named | in_order).items():
        if not hasattr(strategy, attribute):
            raise RunDirectoryError(
                f"the checkpoint holds {attribute!r}, which {type(strategy).__name__} has not: "
                f"it was written with another strategy"
            )
        setattr(strategy, attribute, arrays)


def _arrays(attribute: str, value: object, weights: Weights) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of an attribute that holds one for each weight."""
    if isinstance(value, dict) and value.keys() == weights.keys():
        yield from ((f"{attribute}/{name}", array) for name, array in value.items())
    elif isinstance(value, list) and len(value) == len(weights):
        shapes = [np.shape(array) for array in weights.values()]
        if [np.shape(array) for array in value] == shapes:
            yield from ((f"{attribute}[{i}]", array) for i, array in enumerate(value))
