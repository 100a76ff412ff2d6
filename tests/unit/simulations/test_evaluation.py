"""Metrics of held-out predictions, against figures computed by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

from simulations.evaluation import calibrations, constant, measure, pooled_of, predict
from tacit.domains.domain import Card, Examples, Metric, SiteData, Target
from tacit.runs.evaluation import Direction

LIFE = Target("remaining life", "weeks", 0.0, 200.0)
CPU = torch.device("cpu")


def card(metric, target=None):
    classes = () if target else ("no", "yes")
    return Card("toy", "Toy", "", classes, metric, "one row", target=target)


def rows(targets, features=None):
    wanted = torch.tensor(targets)
    given = torch.zeros(len(targets), 1) if features is None else torch.tensor(features)
    return Examples(given, wanted)


def site(test, train=None):
    return SiteData(test if train is None else train, test)


def odds(*probabilities):
    return np.array([[1 - p, p] for p in probabilities])


SITES = {"east": site(rows([0, 1, 1, 0])), "west": site(rows([1, 0]))}
SCORES = {"east": odds(0.2, 0.9, 0.4, 0.6), "west": odds(0.7, 0.1)}


def test_accuracy_by_site_mean_and_pooled():
    found = measure(SCORES, SITES, card(Metric.ACCURACY)).evaluation
    assert [found.value(name) for name in SITES] == [0.5, 1.0]
    assert found.mean_of_sites == 0.75
    assert found.pooled == 4 / 6


def test_a_loss_is_what_scikit_learn_makes_of_it():
    generator = np.random.default_rng(0)
    scores = {name: generator.dirichlet(np.ones(5), 40) for name in ("east", "west")}
    # Sure and wrong: the logarithm of zero is cut off.
    scores["east"][0] = [0.0, 1.0, 0.0, 0.0, 0.0]
    wanted = {name: [0, *generator.integers(5, size=39).tolist()] for name in scores}
    five = replace(card(Metric.ACCURACY), classes=tuple("abcde"))
    measured = measure(scores, {name: site(rows(own)) for name, own in wanted.items()}, five)
    together = np.concatenate([scores["east"], scores["west"]])
    expected = log_loss(wanted["east"] + wanted["west"], together, labels=range(5))
    assert measured.loss == pytest.approx(expected, rel=1e-12)
    right = together.argmax(1) == wanted["east"] + wanted["west"]
    assert measured.evaluation.pooled == right.mean()


def test_auc_is_the_share_of_pairs_in_the_right_order():
    found = measure(SCORES, SITES, card(Metric.AUC)).evaluation
    # east: positives .9 and .4 against negatives .2 and .6: three of four pairs.
    assert [found.value(name) for name in SITES] == [0.75, 1.0]
    # all: positives .9 .4 .7 against negatives .2 .6 .1: only .4 is below .6.
    assert found.pooled == pytest.approx(8 / 9)
    assert found.direction is Direction.MAXIMIZE


def test_auc_needs_two_classes_and_the_mean_is_over_the_others():
    data = {"east": SITES["east"], "west": site(rows([1, 1]))}
    found = measure(SCORES, data, card(Metric.AUC)).evaluation
    assert found.value("west") is None
    assert "one class" in found.reasons["west"]
    assert found.mean_of_sites == found.value("east") == 0.75


def regression():
    scaled = LIFE.scale(np.array([10.0, 110.0])).tolist(), LIFE.scale(np.array([50.0])).tolist()
    data = {"east": site(rows(scaled[0])), "west": site(rows(scaled[1]))}
    return data, {"east": np.array([13.0, 106.0]), "west": np.array([50.0])}


def test_rmse_is_in_the_unit_of_the_target_and_less_is_better():
    data, predicted = regression()
    measured = measure(predicted, data, card(Metric.RMSE, LIFE))
    found = measured.evaluation
    assert found.value("east") == pytest.approx(math.sqrt((9 + 16) / 2), rel=1e-5)
    assert found.pooled == pytest.approx(math.sqrt(25 / 3), rel=1e-5)
    assert found.worst_site.site == "east"
    assert found.direction is Direction.MINIMIZE
    # The loss of training: half the square of the error on the scale where the range is [-1, 1].
    assert measured.loss == pytest.approx(25 / 100**2 / 3 / 2, rel=1e-5)


def test_what_learns_nothing_predicts_the_majority_or_the_mean():
    train = rows([1, 1, 0])
    data = {"east": SiteData(train, rows([0, 1, 1, 1]))}
    assert constant(data, card(Metric.ACCURACY)).value("east") == 0.75
    assert constant(data, card(Metric.AUC)).value("east") == 0.5
    numbers = rows(LIFE.scale(np.array([0.0, 40.0])).tolist())
    held = rows(LIFE.scale(np.array([50.0])).tolist())
    life = constant({"east": SiteData(numbers, held)}, card(Metric.RMSE, LIFE))
    assert life.value("east") == pytest.approx(30.0, rel=1e-5)


@pytest.mark.parametrize("metric", [Metric.ACCURACY, Metric.RMSE])
def test_the_pooled_figure_follows_from_those_of_the_sites(metric):
    data, predicted = (SITES, SCORES) if metric is Metric.ACCURACY else regression()
    found = measure(predicted, data, card(metric, LIFE if metric is Metric.RMSE else None))
    values = {name: found.evaluation.value(name) for name in data}
    sizes = {name: len(held.test) for name, held in data.items()}
    assert pooled_of(metric, values, sizes) == pytest.approx(found.evaluation.pooled)


def test_the_pooled_figure_is_unknown_for_auc_and_where_a_site_has_none():
    assert pooled_of(Metric.AUC, {"a": 0.5}, {"a": 3}) is None
    assert pooled_of(Metric.ACCURACY, {"a": 0.5, "b": None}, {"a": 3, "b": 1}) is None


def test_rows_that_sites_share_are_predicted_once():
    class Counting(nn.Linear):
        calls = 0

        def forward(self, features):
            Counting.calls += 1
            return super().forward(features)

    shared = rows([0, 1], [[0.0], [1.0]])
    data = {name: SiteData(rows([0]), shared) for name in "abc"} | {"d": SITES["west"]}
    predicted = predict(Counting(1, 2), data, card(Metric.AUC), CPU)
    assert Counting.calls == 2
    assert predicted["a"] is predicted["c"]
    assert predicted["a"].sum(1) == pytest.approx(np.ones(2))


def test_a_number_is_predicted_in_the_unit_of_the_target():
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 1.0)
    nn.init.constant_(model.bias, 0.0)
    data = {"a": site(rows([0.0, 0.0, 0.0], [[-1.0], [0.0], [0.5]]))}
    predicted = predict(model, data, card(Metric.RMSE, LIFE), CPU)
    assert predicted["a"].tolist() == [0.0, 100.0, 150.0]


def test_calibration_is_of_classes_alone():
    data, predicted = regression()
    assert calibrations(predicted, data, card(Metric.RMSE, LIFE)) is None
    found = calibrations(SCORES, SITES, card(Metric.AUC))
    # Confidences .8 .9 .6 .6 .7 .9, of which the third and fourth are wrong.
    wanted = (0.2 + 2 * 0.1 + 2 * 0.6 + 0.3) / 6
    assert found.sites["all"].expected_calibration_error == pytest.approx(wanted)


def test_a_target_is_clamped_to_its_public_range():
    assert LIFE.scale(np.array([-5.0, 0.0, 100.0, 200.0, 900.0])).tolist() == [-1, -1, 0, 1, 1]
    assert math.isnan(LIFE.scale(np.array([np.nan]))[0])
    assert LIFE.unscale(LIFE.scale(np.array([17.0])).astype(float)) == pytest.approx([17.0])
