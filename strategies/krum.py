"""Krum, Multi-Krum and Bulyan as their papers have them, on Flower's classes.

Flower 1.41 takes squared distances as ‖x‖² + ‖y‖² - 2x·y in fp32: where models lie closer together
than a thousandth of their norm, as fine-tuned ones do, the difference is lost and it picks others.
Its Multi-Krum weighs the chosen by size, which the paper does not, and its Bulyan ranks all sites
once, where the paper takes the best, removes it and ranks the rest again.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import cast

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from strategies.records import from_record, to_record
from tacit.messages import ARRAYS
from tacit.models.trainable import Weights


class MultiKrum(flower.MultiKrum):
    """The mean of the m models with the best Krum scores; with m = 1, Krum.

    Not weighted by size. Takes `num_malicious_nodes` (f) and `num_nodes_to_select` (m).
    """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Choose among the replies and take the mean of the chosen; metrics are left out."""
        models = _models(replies)
        if not models:
            return None, None
        scores = krum_scores(squared_distances(models), self.num_malicious_nodes)
        best = sorted(np.argsort(scores, kind="stable")[: self.num_nodes_to_select])
        mean = {name: _stacked(models, best, name).mean(axis=0) for name in models[0]}
        return _record(mean), None


class Bulyan(flower.Bulyan):
    """The mean, in each coordinate, of the values nearest to the median of what Krum chooses.

    Not weighted by size. Takes `num_malicious_nodes` (f): of n replies Krum chooses θ = n - 2f, and
    of these the β = θ - 2f values nearest to their median count (El Mhamdi et al. 2018, "The Hidden
    Vulnerability of Distributed Learning in Byzantium", section 4).
    """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Combine the replies, if there are 4f + 3 or more; metrics are left out."""
        models, bad = _models(replies), self.num_malicious_nodes
        if len(models) < 4 * bad + 3:
            return None, None
        chosen = one_after_another(squared_distances(models), bad, len(models) - 2 * bad)
        return _record(
            {
                name: _mean_about_median(_stacked(models, chosen, name), len(chosen) - 2 * bad)
                for name in models[0]
            }
        ), None


def squared_distances(models: Sequence[Weights]) -> NDArray[np.float64]:
    """Return the squared L2 distance of every two models [n, n], from differences in fp64."""
    found = np.zeros((len(models), len(models)))
    for i, j in combinations(range(len(models)), 2):
        found[i, j] = found[j, i] = sum(
            np.square(np.subtract(array, models[j][name], dtype=np.float64)).sum()
            for name, array in models[i].items()
        )
    return found


def krum_scores(distances: NDArray[np.float64], malicious: int) -> NDArray[np.float64]:
    """Sum each model's squared distances to its n - f - 2 closest others.

    Blanchard et al. 2017 ("Machine Learning with Adversaries"), section 4. Bulyan goes down to so
    few models that none would be left: one counts then.
    """
    closest = max(len(distances) - malicious - 2, 1)
    return cast(NDArray[np.float64], np.sort(distances, axis=1)[:, 1 : closest + 1].sum(axis=1))


def one_after_another(distances: NDArray[np.float64], malicious: int, wanted: int) -> list[int]:
    """Choose by Krum, remove the chosen and choose again; return whom, in their order."""
    left, chosen = list(range(len(distances))), []
    for _ in range(wanted):
        scores = krum_scores(distances[np.ix_(left, left)], malicious)
        chosen.append(left.pop(int(np.argmin(scores))))
    return sorted(chosen)


def _mean_about_median(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the mean of the `count` values nearest to the median, in each coordinate."""
    away = np.abs(values - np.median(values, axis=0))
    nearest = np.argsort(away, axis=0, kind="stable")[:count]
    return cast(NDArray[np.float64], np.take_along_axis(values, nearest, axis=0).mean(axis=0))


def _models(replies: Iterable[Message]) -> list[Weights]:
    return [from_record(cast(ArrayRecord, r.content[ARRAYS])) for r in replies if not r.has_error()]


def _stacked(models: Sequence[Weights], chosen: Sequence[int], name: str) -> NDArray[np.float64]:
    return np.stack([np.asarray(models[i][name], np.float64) for i in chosen])


def _record(arrays: dict[str, NDArray[np.float64]]) -> ArrayRecord:
    return to_record({name: np.asarray(array, np.float32) for name, array in arrays.items()})
