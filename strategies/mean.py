"""Flower's FedAvg with less memory: the mean is made array by array, and uses up the replies."""

from collections.abc import Iterable
from typing import cast

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from flwr.serverapp import strategy as flower

from strategies.records import numbers_of, to_array


class FedAvg(flower.FedAvg):
    """The mean of the sites' models, weighted by size (McMahan et al. 2017), to Flower's bits.

    Flower's own holds all replies, their mean, and the mean once more as a record: where a model is
    a gigabyte, that decides what the coordinator needs.
    """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Combine the replies; their arrays are gone afterwards."""
        valid, _ = self._check_and_log_replies(replies, is_train=True)
        if not valid:
            return None, None
        contents = [message.content for message in valid]
        metrics = self.train_metrics_aggr_fn(contents, self.weighted_by_key)
        sizes = [
            cast(float, record[self.weighted_by_key])
            for content in contents
            for record in content.metric_records.values()
        ]
        shares = [size / sum(sizes) for size in sizes]
        models = [next(iter(content.array_records.values())) for content in contents]
        mean = ArrayRecord()
        for name in list(models[0]):
            mean[name] = _weighted_sum([model.pop(name) for model in models], shares)
        return mean, metrics


def _weighted_sum(arrays: list[Array], shares: list[float]) -> Array:
    """Return Σ share · array, in the order in which Flower adds; the arrays are let go."""
    total = numbers_of(arrays.pop(0)) * shares[0]
    for share in shares[1:]:
        total += numbers_of(arrays.pop(0)) * share
    return to_array(np.asarray(total))
