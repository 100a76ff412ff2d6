"""What a run says of the ways to get a model that it measured beside its own."""

from dataclasses import replace

import pytest

from commands.compose import composed
from simulations.comparison import Beside
from simulations.summary import mark_same_model
from tacit.configuration import read_settings
from tacit.runs.evaluation import Direction, evaluation
from tacit.runs.results import Comparison

FOUND = evaluation("accuracy", Direction.MAXIMIZE, {"north": 0.8, "south": 0.7}, pooled=0.75)
ROWS = (
    Comparison("alone", "Each site alone", FOUND, 1.0, ""),
    Comparison("federated_no_privacy", "Federated", FOUND, None, ""),
    Comparison("pooled_no_privacy", "Pooled", FOUND, None, ""),
)


def settings(*words):
    return read_settings(composed(["domain=hospitals", *words]))


def marks(beside, *words):
    return [row.same_as for row in mark_same_model(beside, settings(*words))]


@pytest.mark.parametrize("strategy", ["fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_one_full_batch_step_a_round_makes_pooled_and_federated_one_model(strategy):
    found = mark_same_model(Beside(ROWS), settings(f"strategy={strategy}"))
    assert [row.same_as for row in found] == [None, None, "federated_no_privacy"]
    assert tuple(replace(row, same_as=None) for row in found) == ROWS


@pytest.mark.parametrize(
    "word",
    [
        "training.local_steps=2",
        "training.optimizer=adam",
        "training.batch_size=64",
        "baselines.pooled.rounds=99",
        "baselines.pooled.learning_rate=0.4",
        "strategy._target_=flwr.serverapp.strategy.FedMedian",
    ],
)
def test_otherwise_they_are_two(word):
    assert marks(Beside(ROWS), word) == [None] * 3


def test_a_baseline_that_ended_early_or_is_missing_equals_no_other():
    assert marks(Beside(ROWS, notes=("Pooled: ended after round 3",))) == [None] * 3
    assert marks(Beside(ROWS[::2])) == [None] * 2
    assert marks(Beside()) == []
