"""Files of a run that no run wrote: a sentence before any work, or a contradiction, and no more."""

import json
import shutil

import pytest
from rich.console import Console

from audits.audit import audit_ledger_file, audit_run
from audits.ledgers import audit_ledgers
from audits.stranger import read_stranger
from benchmarks.audit_cases import TOGETHER, hurried, simulated
from tacit.errors import ConfigurationError, RunDirectoryError
from tacit.runs.audited import FILE, Outcome, StageName

Changes = dict[str, object]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        hurried(patch)
        return simulated(tmp_path_factory.mktemp("made") / "run", TOGETHER)


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def altered(run, change):
    path = run / "results.json"
    results = json.loads(path.read_text())
    change(results["privacy"]["guarantees"])
    path.write_text(json.dumps(results))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g.clear(), "there is no guarantee"),
        (lambda g: g[0].update(delta=0.0), "delta=0 is not in"),
        (lambda g: g[0].update(sites={}), "for no site"),
        (lambda g: g[0]["sites"].update(nowhere=g[0]["sites"].pop("county")), "no site 'nowhere'"),
        (lambda g: g[0]["sites"]["county"].update(noise_multiplier=0.0), "noise_multiplier=0 of"),
        (lambda g: g[0]["sites"]["county"].update(clipping_norm=0.0), "clipping_norm=0 of county"),
    ],
)
def test_guarantees_that_no_run_writes_are_refused(run, change, said):
    altered(run, change)
    with pytest.raises(RunDirectoryError, match=said):
        read_stranger(run)


def test_a_simulated_run_without_its_ledgers_is_contradicted(run):
    shutil.rmtree(run / "ledger")
    assert audit_ledgers(read_stranger(run)).outcome is Outcome.CONTRADICTED


@pytest.mark.parametrize("content", [b"", b"nothing of the kind"])
def test_a_file_that_is_no_ledger_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "site.sqlite"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is no ledger"):
        audit_ledger_file(path)
    with pytest.raises(ConfigurationError, match="is a folder"):
        audit_ledger_file(tmp_path)


def history_cut(run):
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[:-1]))


def smaller_epsilon_in_history(run):
    text = (run / "history.jsonl").read_text().splitlines()
    last = json.loads(text[-1])
    last["epsilon"] = dict.fromkeys(last["epsilon"], 0.001)
    (run / "history.jsonl").write_text("\n".join([*text[:-1], json.dumps(last)]) + "\n")


def other_weights(run):
    (run / "model.safetensors").write_bytes(b"weights of nobody")


def smaller_clip(run):
    altered(run, lambda g: g[0]["sites"]["county"].update(clipping_norm=0.01))


def fewer_steps(run):
    altered(run, lambda g: g[0]["sites"]["county"].update(steps=1))


def more_honest_sites(run):
    altered(run, lambda g: g[0].update(honest_sites=4))


@pytest.mark.parametrize(
    "alter",
    [
        history_cut,
        smaller_epsilon_in_history,
        other_weights,
        smaller_clip,
        fewer_steps,
        more_honest_sites,
    ],
)
@pytest.mark.slow
def test_a_report_that_was_altered_is_contradicted(run, alter, monkeypatch):
    hurried(monkeypatch)
    alter(run)
    audit = audit_run(run, Console(quiet=True))
    found = {f.test for stage in audit.stages for f in stage.findings if f.contradicted}
    assert "the report" in found


def test_what_a_stage_has_found_is_not_lost_when_another_cannot_be_done(run, monkeypatch):
    from audits import audit as stages
    from tacit.errors import InputError

    def gone(case):
        raise InputError("the data are gone")

    kept = {name: gone for name in StageName if name is not StageName.LEDGER}
    monkeypatch.setattr(stages, "STAGES", {StageName.LEDGER: stages._ledger, **kept})
    altered(run, lambda g: g[0]["sites"]["county"].update(epsilon=0.5))
    audit = audit_run(run, Console(quiet=True))
    assert audit.outcome is Outcome.CONTRADICTED
    assert "the data are gone" in audit.stages[-1].why
    audit.write(run / FILE)
