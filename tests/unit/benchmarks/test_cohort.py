import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cohort, environments
from benchmarks.cohort_clock import Clock
from benchmarks.cohort_models import MODELS, rows_of
from benchmarks.cohort_sides import Reading, idle, ours

NOWHERE = Path("/nonexistent")


def fixed(name, seconds, asked):
    def side(rounds, environments):
        asked.append(name)
        return Reading(seconds.pop(0))

    return side


def test_sides_take_turns_and_a_ratio_is_the_median_of_the_pairs_own():
    asked = []
    sides = {
        "ours": fixed("ours", [1.0, 2.0, 9.0], asked),
        "other": fixed("other", [4.0] * 3, asked),
    }
    pairs = cohort.paired(sides, 3, 2, NOWHERE)
    assert asked == ["ours", "other", "other", "ours", "ours", "other"]
    seconds = [{side: found.seconds for side, found in pair.items()} for pair in pairs]
    ratios = {"over": cohort.Ratio(lambda pair: pair["ours"] / pair["other"], 1.0)}
    assert cohort.ratios_of(ratios, seconds) == {"over": 0.5}
    assert cohort.figures_of(pairs) == {
        "ours_cpu_seconds_per_round": 2.0,
        "other_cpu_seconds_per_round": 4.0,
    }


def test_the_last_line_is_one_json_object(monkeypatch, capsys):
    sides = {
        "ray_idle": lambda rounds, folder: Reading(4.0, start_up=9.0),
        "idle": lambda rounds, folder: Reading(1.0, start_up=0.5),
    }
    group = cohort.Group(sides, cohort.GROUPS["idle"].ratios)
    monkeypatch.setattr(cohort, "GROUPS", {"idle": group})
    monkeypatch.setattr("sys.argv", ["cohort", "--pairs", "2"])
    cohort.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found) == ["benchmark", "machine", "figures", "ratios"]
    assert found["ratios"] == {"idle_over_ray": 0.25}
    assert found["figures"]["idle_start_up_seconds"] == 0.5


def test_every_ratio_that_is_promised_is_measured():
    named = {name for group in cohort.GROUPS.values() for name in group.ratios}
    assert named >= {
        "mlp_nodp_over_pfl_nodp",
        "mlp_dp_over_pfl_nodp",
        "mlp_dp_over_opacus_loop",
        "cnn_dp_over_pfl_nodp",
        "cifar_auto_over_pfl",
        "idle_over_ray",
    }
    for group in cohort.GROUPS.values():
        pair = dict.fromkeys(group.sides, 2.0)
        assert all(ratio.of(pair) == 1.0 for ratio in group.ratios.values())


def test_opacus_is_held_against_its_faster_way():
    ratio = cohort.GROUPS["mlp"].ratios["mlp_dp_over_opacus_loop"]
    assert ratio.of({"mlp_dp": 1.0, "opacus_mlp_dp": 4.0, "mlp_dp_loop": 2.0}) == 0.5


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_takes_its_rows(name):
    features, targets = rows_of(name)
    assert features.shape[:2] == targets.shape
    assert targets.shape[1] == 50
    assert MODELS[name]()(features[0, :2]).shape == (2, 10)
    if name == "cifar":
        assert sum(p.numel() for p in MODELS[name]().parameters()) == 1_626_442


def test_the_clock_counts_from_checkpoint_to_checkpoint_without_the_evaluation(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("time.process_time", lambda: float(next(now)))
    clock = Clock()
    measure, save = clock.leaving_out(lambda: "m"), clock.marking(lambda: "s")
    save()  # 0: the start
    for _ in range(3):
        assert measure() == "m"
        assert save() == "s"
    # Of three readings a round, one passes within the evaluation: two count.
    assert clock.seconds() == [2.0, 2.0]


@pytest.mark.slow
def test_whole_rounds_of_the_command_are_timed():
    found = ours("mlp", "privacy=none", "domain.partition.sites=4", "training.cohort=3")(2, NOWHERE)
    assert 0 < found.seconds < 5
    # The run's own figure leaves out history and checkpoint.
    assert found.reported is not None


def test_idle_sites_are_timed_in_this_process():
    found = idle("here")(2, NOWHERE)
    assert 0 < found.seconds < 5
    assert found.start_up is not None
    assert found.start_up > 0


def test_an_environment_is_made_once(monkeypatch, tmp_path):
    ran = []

    def run(command, check):
        ran.append([str(word) for word in command])
        if "venv" in ran[-1]:
            Path(ran[-1][-1]).mkdir(parents=True)

    monkeypatch.setattr(subprocess, "run", run)
    python = environments.python_with(("some>=1",), tmp_path)
    assert environments.python_with(("some>=1",), tmp_path) == python
    assert environments.python_with(("some>=2",), tmp_path) != python
    assert [words[0] for words in ran[:2]] == [sys.executable, str(python)]
    assert ran[1][-1] == "some>=1"
    assert len(ran) == 4


def test_an_environment_that_was_not_finished_is_made_again(monkeypatch, tmp_path):
    def failing(command, check):
        if "pip" in command:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", failing)
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            environments.python_with(("some",), tmp_path)
