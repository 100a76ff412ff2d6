"""What a model is worth on held-out rows: measured freely, as only a simulation may."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

from tacit.domains.domain import Examples, Metric, SiteData
from tacit.runs.evaluation import Direction, Evaluation, evaluation
from tacit.runs.results import Calibration, CalibrationBin, Calibrations

BINS = 10


@dataclass(frozen=True, slots=True)
class Measured:
    """Metric and mean loss (natural logarithm) of one model on every site's held-out rows."""

    evaluation: Evaluation
    loss: float


Probabilities = Mapping[str, npt.NDArray[np.float64]]
"""Class probabilities [n, classes] of every site's held-out rows."""


def predict(model: nn.Module, data: Mapping[str, SiteData], device: torch.device) -> Probabilities:
    """Predict class probabilities of every site's held-out rows."""
    model.eval()
    with torch.no_grad():
        return {
            site: model(held.test.features.to(device)).double().softmax(1).cpu().numpy()
            for site, held in data.items()
        }


def measure(predicted: Probabilities, data: Mapping[str, SiteData], metric: Metric) -> Measured:
    """Measure predictions against the held-out targets."""
    targets = {site: held.test.targets.numpy() for site, held in data.items()}
    values = {site: accuracy(targets[site], predicted[site].argmax(1)) for site in data}
    together = np.concatenate([predicted[site] for site in data])
    wanted = np.concatenate([targets[site] for site in data])
    loss = log_loss(wanted, together, labels=np.arange(together.shape[1]))
    return Measured(
        evaluation(
            metric.value,
            Direction.MAXIMIZE,
            values,
            pooled=accuracy(wanted, together.argmax(1)),
        ),
        float(loss),
    )


def accuracy(targets: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> float:
    """Share of rows whose class was predicted."""
    return float(accuracy_score(targets, classes))


def majority_class(data: Mapping[str, SiteData], metric: Metric) -> Evaluation:
    """Predict at each site the class that is most common among its own training rows."""
    chosen = {site: int(held.train.targets.bincount().argmax()) for site, held in data.items()}
    targets = {site: held.test.targets.numpy() for site, held in data.items()}
    classes = {site: np.full_like(targets[site], chosen[site]) for site in data}
    return evaluation(
        metric.value,
        Direction.MAXIMIZE,
        {site: accuracy(targets[site], classes[site]) for site in data},
        pooled=accuracy(
            np.concatenate(list(targets.values())), np.concatenate(list(classes.values()))
        ),
    )


def calibrations(predicted: Probabilities, data: Mapping[str, SiteData]) -> Calibrations:
    """Hold confidence against accuracy, at every site and for all of them together."""
    sites = {site: _calibration(predicted[site], held.test) for site, held in data.items()}
    everything = Examples(
        torch.cat([held.test.features for held in data.values()]),
        torch.cat([held.test.targets for held in data.values()]),
    )
    together = np.concatenate([predicted[site] for site in data])
    return Calibrations({**sites, "all": _calibration(together, everything)})


def _calibration(predicted: npt.NDArray[np.float64], test: Examples) -> Calibration:
    confidence = predicted.max(1)
    right = predicted.argmax(1) == test.targets.numpy()
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
