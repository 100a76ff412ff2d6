"""Metrics of labels, of classes in order, and of what is of no class, against figures by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from simulations.evaluation import calibrations, constant, measure, out_of_scope, predict
from tacit.domains.domain import Card, Examples, Metric, SiteData
from tacit.models.answers import answers

CPU = torch.device("cpu")
LABELS = Card("toy", "Toy", "", ("red", "big"), Metric.AUC, "one row", together=True)
ORDER = Card("toy", "Toy", "", ("low", "middle", "high"), Metric.MAE, "one row", ordered=True)
CLASSES = Card("toy", "Toy", "", ("a", "b"), Metric.ACCURACY, "one row")


def rows(targets):
    return Examples(torch.zeros(len(targets), 1), torch.tensor(targets, dtype=torch.float32))


def site(targets):
    return SiteData(rows(targets), rows(targets))


TAGS = {"east": site([[1, 0], [0, 0], [1, 1]]), "west": site([[0, 1], [1, 1], [0, 1]])}
LIKELY = {
    "east": np.array([[0.9, 0.2], [0.3, 0.1], [0.2, 0.8]]),
    "west": np.array([[0.1, 0.9], [0.7, 0.3], [0.2, 0.6]]),
}


def test_the_area_of_labels_is_the_mean_over_those_that_differ():
    found = measure(LIKELY, TAGS, LABELS).evaluation
    # East: red 0.9 and 0.2 against 0.3: one of two pairs; big: all of two. West: red alone differs.
    assert found.value("east") == pytest.approx((0.5 + 1) / 2)
    assert found.value("west") == pytest.approx(1.0)


def test_the_loss_of_labels_is_the_mean_of_their_cross_entropies():
    right = [0.9, 0.8, 0.7, 0.9, 0.2, 0.8, 0.9, 0.9, 0.7, 0.3, 0.8, 0.6]
    expected = -sum(math.log(p) for p in right) / len(right)
    assert measure(LIKELY, TAGS, LABELS).loss == pytest.approx(expected)


def test_accuracy_of_labels_is_the_share_of_right_answers():
    card = Card("toy", "Toy", "", ("red", "big"), Metric.ACCURACY, "one row", together=True)
    found = measure(LIKELY, TAGS, card).evaluation
    assert [found.value(name) for name in TAGS] == pytest.approx([5 / 6, 5 / 6])
    # What is more common of each label: red twice of three in the east, big once; and so on.
    nothing = constant(TAGS, card)
    assert [nothing.value(name) for name in TAGS] == pytest.approx([4 / 6, 5 / 6])
    assert calibrations(LIKELY, TAGS, card).sites["all"].bins[-1].accuracy == 1.0


def test_classes_in_order_have_probabilities_that_sum_to_one():
    above = torch.tensor([[0.9, 0.6], [0.2, 0.1], [0.3, 0.8]]).logit()  # the last is out of order
    found = answers(above.double(), ORDER)
    assert found.tolist() == [
        pytest.approx(row) for row in ([0.1, 0.3, 0.6], [0.8, 0.1, 0.1], [0.7, 0.0, 0.3])
    ]


def test_the_error_of_an_order_counts_classes():
    data = {"east": site([[1, 1], [0, 0], [1, 0], [1, 1]])}
    likely = np.array([[0.1, 0.3, 0.6], [0.6, 0.3, 0.1], [0.6, 0.2, 0.2], [0.7, 0.2, 0.1]])
    found = measure({"east": likely}, data, ORDER).evaluation
    assert found.direction == "minimize"
    assert found.value("east") == pytest.approx((0 + 0 + 1 + 2) / 4)
    # The most common class is 'high', which is two and one off.
    assert constant(data, ORDER).value("east") == pytest.approx(3 / 4)


def test_predictions_of_a_model_are_of_its_task():
    model = nn.Linear(1, 2)
    data = {"east": site([[1, 1]])}
    for card in (LABELS, ORDER):
        assert predict(model, data, card, CPU)["east"].shape == (1, len(card.classes))


def test_what_is_of_no_class_is_told_by_confidence():
    data = {"east": SiteData(rows([0, 1]), rows([0.0] * 20))}
    inside = np.tile([0.9, 0.1], (20, 1))
    inside[0] = [0.55, 0.45]  # a twentieth is less sure
    model = nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0], [0.0]]))
        model.bias.zero_()
    # Confidence of the strange: σ(0) = 0.5, σ(1) = 0.73, σ(3) = 0.953.
    strange = torch.tensor([[0.0], [1.0], [3.0]])
    found = out_of_scope(model, strange, {"east": inside}, data, CLASSES, CPU)
    assert found.records == 3
    pairs = [19 + 1, 19 + 0, 0]
    assert found.auroc == pytest.approx(sum(pairs) / 60)
    assert found.accepted_at_95 == pytest.approx(1 / 3)


def test_of_an_order_the_answer_that_is_told_is_held_against_how_likely_it_is():
    """The median class: 'middle' here, though 'high' is likelier."""
    data = {"east": site([[1, 0], [1, 0]])}
    likely = np.array([[0.3, 0.3, 0.4], [0.3, 0.3, 0.4]])
    found = calibrations({"east": likely}, data, ORDER)
    assert [(b.confidence, b.accuracy, b.count) for b in found.sites["all"].bins] == [(0.3, 1.0, 2)]
    assert found.sites["all"].expected_calibration_error == pytest.approx(0.7)
