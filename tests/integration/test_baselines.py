"""The baselines that ``compare=true`` trains: stopped, gone on with, and never trained twice."""

import json

import pytest
from whole_run import ROUNDS, SYSTEM, Crash, results, uninterrupted

import simulations.comparison
from simulations.training import train_out
from tacit.errors import ExitCode

# Sites that train together keep no replies that could hold weights.
COMPARED = (
    "engine=loop",
    "compare=true",
    "baselines.federated.rounds=3",
    "baselines.pooled.rounds=3",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same run in this process, never interrupted."""
    return uninterrupted(tmp_path_factory.mktemp("baselines") / "run", ROUNDS, *COMPARED)


def kept(run):
    """Everything below compare/, by name."""
    return {p.relative_to(run): p.read_bytes() for p in (run / "compare").rglob("*") if p.is_file()}


@pytest.fixture
def crashed(run, tmp_path, monkeypatch):
    """Start a run and cut its power after a round of a baseline."""

    def cut_after(point, *more):
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
                run(tmp_path / "run", *COMPARED, *more)
        return tmp_path / "run"

    return cut_after


@pytest.mark.parametrize(
    "point",
    [
        ("alone-county", 1),
        pytest.param(("federated", 2), marks=pytest.mark.slow),
        pytest.param(("pooled", 3), marks=pytest.mark.slow),
    ],
)
def test_a_stop_in_a_baseline_changes_no_figure(crashed, resume, whole, point):
    path = crashed(point)
    assert resume(path)[0] == ExitCode.DONE
    for key in ("comparison", "single_models", "evaluation", "weights_sha256"):
        assert results(path)[key] == results(whole)[key], key
    assert results(path)["notes"] == []


def test_a_finished_run_trains_no_baseline_again(resume, tmp_path, monkeypatch):
    """With noise from the system that would spend on the same records a second time."""
    path = uninterrupted(tmp_path / "run", ROUNDS, *COMPARED, SYSTEM)
    before, found = kept(path), results(path)
    monkeypatch.setattr(
        simulations.comparison, "train_out", lambda *given: pytest.fail("trained again")
    )
    assert resume(path)[0] == ExitCode.DONE
    assert kept(path) == before
    assert results(path)["comparison"] == found["comparison"]


def test_a_baseline_with_noise_from_the_system_goes_on_from_its_last_round(
    crashed, resume, monkeypatch
):
    path = crashed(("alone-county", 2), SYSTEM)
    seen = []

    def counted(arm, experiment, plan, start, *more):
        seen.append((arm.key, start.round))
        return train_out(arm, experiment, plan, start, *more)

    monkeypatch.setattr(simulations.comparison, "train_out", counted)
    assert resume(path)[0] == ExitCode.DONE
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
