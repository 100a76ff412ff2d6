"""The baselines that ``compare=true`` trains: stopped, gone on with, and never trained twice."""

import json

import pytest
from whole_run import SYSTEM, call, results, uninterrupted, words

import simulations.comparison
from simulations.training import train_out
from tacit.errors import ExitCode

COMPARED = ("compare=true", "baselines.federated.rounds=3", "baselines.pooled.rounds=3")


class Crash(BaseException):
    """The power is cut: nothing in the code can catch this and tidy up."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("baselines")


@pytest.fixture(scope="module")
def whole(folder):
    return uninterrupted(folder / "whole", folder / "cache", 4, *COMPARED)


def kept(run):
    """Everything below compare/, by name."""
    return {p.relative_to(run): p.read_bytes() for p in (run / "compare").rglob("*") if p.is_file()}


def crashed(run, folder, capsys, monkeypatch, point, *more):
    """Cut the power at the n-th line of progress of the baselines."""
    seen = []

    def cut(arm, experiment, plan, start, ledgers, on_round):
        def noted(state, outcome):
            on_round(state, outcome)
            seen.append((arm.key, state.round))
            if seen[-1] == point:
                raise Crash

        return train_out(arm, experiment, plan, start, ledgers, noted)

    with monkeypatch.context() as patched:
        patched.setattr(simulations.comparison, "train_out", cut)
        with pytest.raises(Crash):
            call([*words(run, folder / "cache", 4), *COMPARED, *more], capsys)
    return seen


@pytest.mark.parametrize("point", [("alone-county", 1), ("federated", 2), ("pooled", 3)])
def test_a_stop_in_a_baseline_changes_no_figure(
    whole, folder, tmp_path, capsys, monkeypatch, point
):
    run = tmp_path / "run"
    crashed(run, folder, capsys, monkeypatch, point)
    assert call([f"run.resume={run}"], capsys)[0] == ExitCode.DONE
    for key in ("comparison", "single_models", "evaluation", "weights_sha256"):
        assert results(run)[key] == results(whole)[key], key
    assert results(run)["notes"] == []


def test_a_finished_run_trains_no_baseline_again(folder, tmp_path, capsys, monkeypatch):
    """With noise from the system that would spend on the same records a second time."""
    run = uninterrupted(tmp_path / "run", folder / "cache", 4, *COMPARED, SYSTEM)
    before, found = kept(run), results(run)
    monkeypatch.setattr(
        simulations.comparison, "train_out", lambda *given: pytest.fail("trained again")
    )
    assert call([f"run.resume={run}"], capsys)[0] == ExitCode.DONE
    assert kept(run) == before
    assert results(run)["comparison"] == found["comparison"]


def test_a_baseline_with_noise_from_the_system_goes_on_from_its_last_round(
    folder, tmp_path, capsys, monkeypatch
):
    run = tmp_path / "run"
    crashed(run, folder, capsys, monkeypatch, ("alone-county", 2), SYSTEM)
    seen = []

    def counted(arm, experiment, plan, start, *more):
        seen.append((arm.key, start.round))
        return train_out(arm, experiment, plan, start, *more)

    monkeypatch.setattr(simulations.comparison, "train_out", counted)
    assert call([f"run.resume={run}"], capsys)[0] == ExitCode.DONE
    assert seen[0] == ("alone-county", 2)
    assert all(start == 0 for _, start in seen[1:])


def test_no_weights_of_a_baseline_are_left(whole):
    names = {path.name for path in kept(whole)}
    assert "measured.json" in names
    assert "state.safetensors" not in names
    # The header of safetensors names its tensors: a kept reply of the run itself has it.
    assert b'"head.weight"' in (whole / "ledger" / "county.sqlite").read_bytes()
    for name, content in kept(whole).items():
        assert b'"head.weight"' not in content, name


def test_what_was_measured_is_plain_json(whole):
    text = (whole / "compare" / "pooled" / "measured.json").read_text()
    assert json.loads(text)["evaluation"]["metric"] == "accuracy"
