import json
import statistics

import pytest
import torch

from benchmarks import private_step
from tacit.models.compatibility import check_private
from tacit.models.trainable import choose_trainable

CPU = torch.device("cpu")


def test_the_last_line_is_one_json_object_with_every_time_and_ratio(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["private_step", "--repeats", "1", "--batch", "8"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    threads = torch.get_num_threads()
    try:
        private_step.main()
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out.splitlines()
    found = json.loads(said[-1])
    assert list(found) == ["benchmark", "machine", "figures", "ratios"]
    assert found["benchmark"] == "private_step"
    assert found["machine"]["torch"] == torch.__version__
    models = ("mlp", "cnn", "vit", "vit_head")
    ways = ("plain", "private", "opacus")
    assert set(found["figures"]) == {f"cpu.{model}.{way}_ms" for model in models for way in ways}
    for model in models:
        ms = {way: found["figures"][f"cpu.{model}.{way}_ms"] for way in ways}
        assert all(value > 0 for value in ms.values())
        # Of a single repeat, the ratio of medians and the median of ratios are the same.
        for ours, theirs in (("private", "plain"), ("opacus", "plain"), ("private", "opacus")):
            ratio = found["ratios"][f"cpu.{model}.{ours}_to_{theirs}"]
            assert ratio == pytest.approx(ms[ours] / ms[theirs])
    assert len(found["ratios"]) == 3 * len(models)
    assert all(any(model in line for line in said[:-1]) for model in models)


def test_ways_take_turns_and_the_first_turn_is_not_counted():
    turns = []
    steps = {name: lambda number, name=name: turns.append((number, name)) for name in "ab"}
    taken = private_step.paired_seconds(steps, 2, CPU)
    assert turns == [(0, "a"), (0, "b"), (1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert {name: len(found) for name, found in taken.items()} == {"a": 2, "b": 2}


def test_ratios_are_of_the_same_repeat():
    ours, theirs = [2.0, 30.0, 6.0], [1.0, 10.0, 1.0]
    assert private_step.median_ratio(ours, theirs) == 3.0
    assert statistics.median(ours) / statistics.median(theirs) == 6.0


@pytest.mark.parametrize("case", private_step.CASES, ids=lambda case: case.name)
def test_every_model_has_true_per_example_gradients(case):
    torch.manual_seed(0)
    model = case.build()
    choose_trainable(model, case.train)
    check_private(model, case.inputs)


@pytest.mark.parametrize("way", ["plain", "private", "opacus"])
def test_a_timed_step_moves_every_weight_that_trains(way, monkeypatch):
    case = private_step.CASES[0]
    models = []
    copied = private_step.deepcopy
    monkeypatch.setattr(
        private_step, "deepcopy", lambda model: models.append(copied(model)) or models[-1]
    )
    steps = private_step.steps_of(case, 8, CPU)
    before = [copied(model.state_dict()) for model in models]
    steps[way](1)
    moved = [
        all(not torch.equal(value, old[name]) for name, value in model.state_dict().items())
        for model, old in zip(models, before, strict=True)
    ]
    assert moved.count(True) == 1
