"""What a model is worth on held-out rows: measured freely, as only a simulation may."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score, root_mean_squared_error
from torch import nn

from tacit.domains.domain import Card, Examples, Metric, SiteData
from tacit.runs.evaluation import DIRECTIONS, Evaluation, evaluation
from tacit.runs.results import Calibration, CalibrationBin, Calibrations

BINS: Final = 10

Array = npt.NDArray[np.float64]

Predictions = Mapping[str, Array]
"""For every site's held-out rows: class probabilities [n, classes] or, where the domain has a
target, numbers [n] in its unit."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Metric and mean loss (natural logarithm, or half the squared scaled error) of one model."""

    evaluation: Evaluation
    loss: float


def predict(
    model: nn.Module, data: Mapping[str, SiteData], card: Card, device: torch.device
) -> Predictions:
    """Predict every site's held-out rows; rows that several sites share are predicted once."""
    model.eval()
    known: dict[int, Array] = {}
    for held in data.values():
        if id(held.test) not in known:
            with torch.no_grad():
                scores = model(held.test.features.to(device)).double().cpu()
            known[id(held.test)] = (
                card.target.unscale(scores[:, 0].numpy())
                if card.target
                else scores.softmax(1).numpy()
            )
    return {site: known[id(held.test)] for site, held in data.items()}


def measure(predicted: Predictions, data: Mapping[str, SiteData], card: Card) -> Measured:
    """Measure predictions against the held-out targets."""
    wanted = {site: _wanted(held.test, card) for site, held in data.items()}
    values = {site: _value(card.metric, wanted[site], predicted[site]) for site in data}
    all_wanted = np.concatenate(list(wanted.values()))
    together = np.concatenate([predicted[site] for site in data])
    if card.target:
        half = (card.target.high - card.target.low) / 2
        loss = float(np.mean(np.square((together - all_wanted) / half)) / 2)
    else:
        loss = float(log_loss(all_wanted, together, labels=np.arange(together.shape[1])))
    return Measured(
        evaluation(
            card.metric.value,
            DIRECTIONS[card.metric],
            values,
            pooled=_value(card.metric, all_wanted, together),
            reasons={
                site: "its held-out rows are of one class, and AUC needs two"
                for site, value in values.items()
                if value is None
            },
        ),
        loss,
    )


def constant(data: Mapping[str, SiteData], card: Card) -> Evaluation:
    """Measure what learns nothing.

    It predicts, at each site, the class that is most common among the site's own training rows or,
    where the domain has a target, their mean.
    """
    predicted = {}
    for site, held in data.items():
        if card.target:
            mean = float(_wanted(held.train, card).mean())
            predicted[site] = np.full(len(held.test), mean)
        else:
            chosen = int(held.train.targets.bincount().argmax())
            predicted[site] = np.eye(len(card.classes))[[chosen] * len(held.test)]
    return measure(predicted, data, card).evaluation


def pooled_of(
    metric: Metric, values: Mapping[str, float | None], sizes: Mapping[str, int]
) -> float | None:
    """Return the metric over all records from that of each site; None where that is impossible."""
    known = [(sizes[site], value) for site, value in values.items() if value is not None]
    if metric is Metric.AUC or len(known) < len(values):
        return None
    rows = sum(size for size, _ in known)
    if metric is Metric.RMSE:
        return math.sqrt(sum(size * value**2 for size, value in known) / rows)
    return sum(size * value for size, value in known) / rows


def calibrations(
    predicted: Predictions, data: Mapping[str, SiteData], card: Card
) -> Calibrations | None:
    """Hold confidence against accuracy, by site and for all together; None without classes."""
    if card.target:
        return None
    wanted = {site: _wanted(held.test, card) for site, held in data.items()}
    sites = {site: _calibration(predicted[site], wanted[site]) for site in data}
    together = np.concatenate([predicted[site] for site in data])
    everything = np.concatenate(list(wanted.values()))
    return Calibrations({**sites, "all": _calibration(together, everything)})


def _wanted(examples: Examples, card: Card) -> Array:
    """Return targets as classes [n], or as numbers [n] in the target's unit."""
    targets = examples.targets.numpy().astype(np.float64)
    return card.target.unscale(targets) if card.target else targets


def _value(metric: Metric, wanted: Array, predicted: Array) -> float | None:
    match metric:
        case Metric.ACCURACY:
            return float(accuracy_score(wanted, predicted.argmax(1)))
        case Metric.AUC:
            return float(roc_auc_score(wanted, predicted[:, 1])) if len(set(wanted)) > 1 else None
        case Metric.RMSE:
            return float(root_mean_squared_error(wanted, predicted))


def _calibration(predicted: Array, wanted: Array) -> Calibration:
    confidence = predicted.max(1)
    right = predicted.argmax(1) == wanted
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = tuple(
        CalibrationBin(
            float(confidence[place == b].mean()),
            float(right[place == b].mean()),
            int((place == b).sum()),
        )
        for b in range(BINS)
        if (place == b).any()
    )
    # Expected calibration error: Guo et al. 2017, arXiv 1706.04599, equation 3.
    error = sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / len(right)
    return Calibration(bins, float(error))
