"""What a model is worth on held-out rows: measured freely, as only a simulation may.

What sites share is predicted and measured once (`simulations.held_out`). Where sites are pooled,
every test set counts once.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from sklearn.metrics import roc_auc_score, root_mean_squared_error
from torch import nn

from simulations.held_out import Alike, Array, Group, Predictions, are_listed, groups_of
from tacit.domains.domain import Card, Examples, Metric, SiteData, Task
from tacit.domains.partitioned import PartitionedSites
from tacit.models.answers import answers, median_class, scores_of
from tacit.runs.evaluation import ALL, DIRECTIONS, Evaluation, evaluation, unlisted
from tacit.runs.results import Calibration, CalibrationBin, Calibrations, OutOfScope

BINS: Final = 10
_HALF: Final = 0.5


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

    def predicted(test: Examples) -> Array:
        return answers(scores_of(model, test.features, device), card)

    if isinstance(data, PartitionedSites):
        return Alike(data, predicted(data.test))
    known: dict[int, Array] = {}
    for held in data.values():
        if id(held.test) not in known:
            known[id(held.test)] = predicted(held.test)
    return {site: known[id(held.test)] for site, held in data.items()}


def measure(predicted: Predictions, data: Mapping[str, SiteData], card: Card) -> Measured:
    """Measure predictions against the held-out targets."""
    return _measure(groups_of(predicted, data), data, card)


def constant(data: Mapping[str, SiteData], card: Card) -> Evaluation:
    """Measure what learns nothing.

    It predicts, at each site, the class that is most common among the site's own training rows,
    of each label what is more common or, where the domain has a target, their mean.
    """

    def predicted(chosen: Sequence[float], rows: int) -> Array:
        if card.task is Task.LABELS:
            return np.tile(chosen, (rows, 1))
        if card.target:
            return np.full(rows, chosen[0])
        return np.eye(len(card.classes))[[int(chosen[0])] * rows]

    if isinstance(data, PartitionedSites):
        names, chosen = np.array(data.train.parts.names), _constants(data, card)
        groups = [
            Group(
                names[(chosen == value).all(1)].tolist(),
                data.test,
                predicted(value.tolist(), len(data.test)),
                float((chosen == value).all(1).mean()),
            )
            for value in np.unique(chosen, axis=0)
        ]
        return _measure(groups, data, card).evaluation
    known: dict[tuple[int, tuple[float, ...]], Array] = {}
    found = {}
    for site, held in data.items():
        value = _constant(held.train, card)
        key = id(held.test), value
        found[site] = known.setdefault(key, predicted(value, len(held.test)))
    return measure(found, data, card).evaluation


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
    groups = groups_of(predicted, data)
    wanted = [_wanted(group.test, card) for group in groups]
    sites = {}
    if are_listed(data):
        for group, own in zip(groups, wanted, strict=True):
            sites.update(dict.fromkeys(group.sites, _calibration(group.predicted, own, card)))
    together = np.concatenate([group.predicted for group in groups])
    found = {site: sites[site] for site in data if site in sites} if sites else {}
    return Calibrations({**found, ALL: _calibration(together, np.concatenate(wanted), card)})


def out_of_scope(
    model: nn.Module,
    strange: torch.Tensor,
    predicted: Predictions,
    data: Mapping[str, SiteData],
    card: Card,
    device: torch.device,
) -> OutOfScope:
    """Measure how well confidence tells examples of no class [n, ...] from held-out ones.

    Confidence is the largest probability of a class (Hendrycks and Gimpel 2017, "A baseline for
    detecting misclassified and out-of-distribution examples", arXiv 1610.02136).
    """
    outside = answers(scores_of(model, strange, device), card).max(1)
    inside = np.concatenate([group.predicted for group in groups_of(predicted, data)]).max(1)
    of_a_class = np.repeat([1, 0], [len(inside), len(outside)])
    auroc = roc_auc_score(of_a_class, np.concatenate([inside, outside]))
    threshold = np.quantile(inside, 0.05)
    return OutOfScope(len(outside), float(auroc), float((outside >= threshold).mean()))


def _measure(groups: Sequence[Group], data: Mapping[str, SiteData], card: Card) -> Measured:
    wanted = [_wanted(group.test, card) for group in groups]
    values = [
        _value(card.metric, own, group.predicted) for group, own in zip(groups, wanted, strict=True)
    ]
    everything, together, weights = wanted[0], groups[0].predicted, None
    pooled = values[0]
    if len(groups) > 1:
        everything = np.concatenate(wanted)
        together = np.concatenate([group.predicted for group in groups])
        if any(group.share < 1 for group in groups):
            weights = np.concatenate([np.full(len(g.predicted), g.share) for g in groups])
        pooled = _value(card.metric, everything, together, weights)
    direction, metric = DIRECTIONS[card.metric], card.metric.value
    why = "its held-out rows are of one class, and AUC needs two"
    if not are_listed(data):
        found = unlisted(
            metric,
            direction,
            [(value, group.sites) for value, group in zip(values, groups, strict=True)],
            pooled=pooled,
            reason=why if pooled is None else None,
        )
    else:
        of_site = {
            site: value for value, group in zip(values, groups, strict=True) for site in group.sites
        }
        found = evaluation(
            metric,
            direction,
            {site: of_site[site] for site in data},
            pooled=pooled,
            reasons={site: why for site in data if of_site[site] is None},
        )
    return Measured(found, _loss(card, everything, together, weights))


def _constant(train: Examples, card: Card) -> tuple[float, ...]:
    wanted = _wanted(train, card)
    match card.task:
        case Task.NUMBER:
            return (float(wanted.mean()),)
        case Task.LABELS:
            return tuple((wanted.mean(0) > _HALF).astype(np.float64).tolist())
        case _:
            return (float(np.bincount(wanted.astype(np.int64)).argmax()),)


def _constants(data: PartitionedSites, card: Card) -> Array:
    """Return `_constant` of every site [sites, ...] at once."""
    parts, wanted = data.train.parts, _wanted(data.train.table, card)[data.train.parts.rows]
    if card.task is Task.LABELS:
        share = [np.bincount(parts.owners, label) / parts.sizes for label in wanted.T]
        common: Array = (np.stack(share, 1) > _HALF).astype(np.float64)
        return common
    if card.target:
        means: Array = np.bincount(parts.owners, wanted) / parts.sizes
        return means[:, None]
    classes = len(card.classes)
    cells = parts.owners * classes + wanted.astype(np.int64)
    counts = np.bincount(cells, minlength=len(parts.names) * classes).reshape(-1, classes)
    chosen: Array = counts.argmax(1).astype(np.float64)[:, None]
    return chosen


def _wanted(examples: Examples, card: Card) -> Array:
    """Return targets as classes [n], labels [n, labels], or numbers [n] in the target's unit."""
    targets = examples.targets.numpy().astype(np.float64)
    match card.task:
        case Task.NUMBER if card.target is not None:
            return card.target.unscale(targets)
        case Task.ORDINAL:
            above: Array = targets.sum(1)
            return above
        case _:
            return targets


def _value(
    metric: Metric, wanted: Array, predicted: Array, weights: Array | None = None
) -> float | None:
    match metric:
        case Metric.ACCURACY if wanted.ndim == 2:
            right = ((predicted > _HALF) == wanted).mean(1)
            return float(np.average(right, weights=weights))
        case Metric.ACCURACY:
            return float(np.average(predicted.argmax(1) == wanted, weights=weights))
        case Metric.AUC:
            columns = [(wanted, predicted[:, -1])]
            if wanted.ndim == 2:
                columns = [*zip(wanted.T, predicted.T, strict=True)]
            found = [
                roc_auc_score(own, scores, sample_weight=weights)
                for own, scores in columns
                if len(set(own)) == 2
            ]
            return float(np.mean(found)) if found else None
        case Metric.MAE:
            off = np.abs(median_class(predicted) - wanted)
            return float(np.average(off, weights=weights))
        case Metric.RMSE:
            return float(root_mean_squared_error(wanted, predicted, sample_weight=weights))


def _loss(card: Card, wanted: Array, predicted: Array, weights: Array | None) -> float:
    if card.target:
        half = (card.target.high - card.target.low) / 2
        return float(np.average(np.square((predicted - wanted) / half), weights=weights) / 2)
    # scikit-learn's log_loss to the last bits, without its 3 ms of checks in every round.
    least = np.finfo(predicted.dtype).eps
    if wanted.ndim == 2:
        right = np.where(wanted == 1, predicted, 1 - predicted).clip(least, 1 - least)
        return float(np.average(-np.log(right).mean(1), weights=weights))
    likely = predicted[np.arange(len(wanted)), wanted.astype(np.int64)]
    return float(np.average(-np.log(likely.clip(least, 1 - least)), weights=weights))


def _calibration(predicted: Array, wanted: Array, card: Card) -> Calibration:
    """Hold how likely each answer is said to be against how often it is right."""
    if card.task is Task.ORDINAL:
        told = median_class(predicted)
        confidence, right = predicted[np.arange(len(told)), told], told == wanted
    elif wanted.ndim == 2:
        right = ((predicted > _HALF) == wanted).ravel()
        confidence = np.maximum(predicted, 1 - predicted).ravel()
    else:
        confidence, right = predicted.max(1), predicted.argmax(1) == wanted
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
