"""Flower's FedAvg with less memory: the mean is made array by array, and uses up the replies."""

from collections.abc import Iterable
from typing import Final, cast

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from strategies.live import LiveArray
from strategies.records import numbers_of
from tacit.errors import TacitError
from tacit.messages import ARRAYS, METRICS

AVERAGING: Final = frozenset(
    {"strategies.mean.FedAvg"}
    | {
        f"flwr.serverapp.strategy.{name}"
        for name in ("FedAvg", "FedAvgM", "FedAdam", "FedYogi", "FedAdagrad")
    }
)
"""Strategies that see the replies only in their mean by declared size."""


class FedAvg(flower.FedAvg):
    """The mean of the sites' models, weighted by size (McMahan et al. 2017), to Flower's bits.

    Flower's own holds all replies, their mean, and the mean once more as a record: where a model is
    a gigabyte, that decides what the coordinator needs.
    """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Combine the replies; their arrays are gone afterwards.

        There are no metrics to combine: the round loop asks sites for none.

        Raises
        ------
        TacitError
            Two replies have not the same weights.
        """
        contents = [message.content for message in replies if message.has_content()]
        if not contents:
            return None, None
        sizes = [self._size(content) for content in contents]
        shares = [size / sum(sizes) for size in sizes]
        models = [cast(ArrayRecord, content[ARRAYS]) for content in contents]
        if any(model.keys() != models[0].keys() for model in models):
            raise TacitError("replies have not the same weights")
        mean = ArrayRecord()
        for name in list(models[0]):
            mean[name] = _weighted_sum([model.pop(name) for model in models], shares)
        return mean, None

    def _size(self, content: RecordDict) -> float:
        return cast(float, content[METRICS][self.weighted_by_key])


def _weighted_sum(arrays: list[Array], shares: list[float]) -> Array:
    """Return Σ share · array, in the order in which Flower adds; the arrays are let go."""
    total = numbers_of(arrays.pop(0)) * shares[0]
    for share in shares[1:]:
        total += numbers_of(arrays.pop(0)) * share
    return LiveArray(np.asarray(total))
