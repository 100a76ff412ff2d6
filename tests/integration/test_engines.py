"""One experiment by every engine: the same weights but for rounding."""

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file
from whole_run import SITES, Crash, epsilons, results, uninterrupted

import simulations.simulate
from simulations import ways
from simulations.kept import keeping
from simulations.progress import LiveProgress
from simulations.simulate import simulate
from tacit.configuration import read_settings
from tacit.errors import ExitCode
from tacit.learning.stacked.frozen import Split
from tacit.runs.directory import read_config


def trained(folder, engine, *more):
    path = uninterrupted(folder / engine, 3, f"engine={engine}", "training.local_steps=2", *more)
    return path, load_file(path / "model.safetensors")


@pytest.mark.parametrize(
    "more", [["model=linear"], ["model=tabular"], ["model=tabular", "model.train=all"]], ids=str
)
@pytest.mark.parametrize("privacy", ["record", "none"])
def test_loop_and_stacked(tmp_path, more, privacy):
    """Three rounds of two steps in fp32: 1e-5 of the largest weight is a hundred roundings."""
    words = [*more, f"privacy={privacy}", "training.batch_size=64", "training.learning_rate=0.1"]
    loop, expected = trained(tmp_path, "loop", *words)
    stacked, found = trained(tmp_path, "stacked", *words)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5 * abs(value).max())
    assert results(loop)["evaluation"] == results(stacked)["evaluation"]
    if privacy == "record":
        assert epsilons(loop) == epsilons(stacked)


def test_auto_keeps_what_it_found_with_the_run(tmp_path, monkeypatch):
    """Whatever is faster here, the run says so, ends as that engine's run, and repeats."""
    path, found = trained(tmp_path, "auto", "model=linear")
    chosen = read_config(path)["engine"]["chosen"]
    assert chosen in ("stacked", "loop")
    _, expected = trained(tmp_path, chosen, "model=linear")
    for name, value in expected.items():
        assert np.array_equal(found[name], value)

    monkeypatch.setattr(ways, "Faster", None)  # nothing is timed again
    again = read_config(path)
    again["run"]["dir"] = str(tmp_path / "again")
    with LiveProgress(Console(quiet=True)) as progress:
        simulate(read_settings(again), again, progress)
    assert results(tmp_path / "again")["weights_sha256"] == results(path)["weights_sha256"]


def test_what_auto_found_stands_before_a_round_is_complete(run, resume, tmp_path, monkeypatch):
    def cut(*arguments):
        raise Crash

    path = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(simulations.simulate.RunDirectory, "append", cut)
        patched.setattr(simulations.simulate._Recorder, "record_start", lambda *a: None)
        with pytest.raises(Crash):
            run(path, "engine=auto")
    chosen = read_config(path)["engine"]["chosen"]
    assert resume(path) == (ExitCode.DONE, "")
    assert read_config(path)["engine"]["chosen"] == chosen


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["engine=loop", "engine.workers=2"], "workers=2 goes with engine=stacked or engine=ray"),
        (["engine=auto", "engine.workers=2"], "workers=2 goes with engine=stacked or engine=ray"),
        (["engine=loop", "engine.chunk=3"], "chunk=3 does nothing with engine=loop"),
        (["engine=ray", "engine.chunk=3"], "chunk=3 does nothing with engine=ray"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(run, tmp_path, words, said):
    code, error = run(tmp_path / "run", *words)
    assert code == ExitCode.BAD_INPUT
    assert said in error
    assert len(error.splitlines()) == 1


def test_what_only_auto_finds_is_refused_elsewhere(run, tmp_path):
    code, error = run(tmp_path / "run", "engine=stacked", "+engine.chosen=loop")
    assert code == ExitCode.BAD_INPUT
    assert "engine=stacked has no such key" in error


def test_runs_that_share_data_share_the_features_of_a_frozen_part(tmp_path, monkeypatch):
    made = []
    honest = Split.features

    def counted(split, rows, compute):
        made.append(len(rows))
        return honest(split, rows, compute)

    monkeypatch.setattr(Split, "features", counted)
    with keeping():
        trained(tmp_path / "one", "stacked", "model=tabular")
        first = list(made)
        trained(tmp_path / "two", "stacked", "model=tabular", "privacy.epsilon=3")
    assert len(first) == len(SITES)
    assert made == first
    trained(tmp_path / "three", "stacked", "model=tabular")
    assert made == first * 2
