"""Files of a run that no run wrote: a sentence before any work, or a contradiction, and no more."""

import json
import math
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from rich.console import Console

from audits.audit import audit_ledger_file, audit_run
from audits.ledgers import audit_ledgers
from audits.stranger import read_stranger
from benchmarks.audit_cases import (
    CLIENTS,
    CLIENTS_IN_SHARES,
    SHARED,
    TOGETHER,
    contradicted,
    hurried,
    simulated,
)
from tacit.errors import ExitCode, RunDirectoryError
from tacit.runs.audited import FILE, Outcome, StageName

COARSE = (*SHARED, "privacy.bits=16", "training.batch_size=20")


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


def of_county(**told):
    return lambda guarantees: guarantees[0]["sites"]["county"].update(told)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g.clear(), "guarantees is empty"),
        (lambda g: g[0].update(delta=0.0), "guarantees[0].delta=0 is not in (0, 1)"),
        (lambda g: g[0].update(delta=1.0), "guarantees[0].delta=1 is not in (0, 1)"),
        (lambda g: g.append({**g[0], "sites": {}}), "guarantees[1].sites is empty"),
        (
            lambda g: g[0]["sites"].update(nowhere=g[0]["sites"].pop("county")),
            "sites has 'nowhere'",
        ),
        (of_county(noise_multiplier=0.0), "sites.county.noise_multiplier=0 is not positive"),
        (of_county(noise_multiplier=math.inf), "sites.county.noise_multiplier is Infinity"),
        (of_county(clipping_norm=-1.0), "sites.county.clipping_norm=-1 is not positive"),
        (of_county(epsilon=math.nan), "sites.county.epsilon is NaN"),
        (of_county(epsilon=-1.0), "sites.county.epsilon=-1 is negative"),
    ],
)
def test_guarantees_that_no_run_writes_are_refused(run, change, said):
    altered(run, change)
    with pytest.raises(RunDirectoryError, match=r"results\.json") as refused:
        read_stranger(run)
    assert said in str(refused.value)


def test_a_run_without_a_checkpoint_is_told_what_it_lacks(run):
    shutil.rmtree(run / "checkpoint")
    with pytest.raises(RunDirectoryError, match=r"no checkpoint/state\.safetensors") as said:
        read_stranger(run)
    assert "start a new run" not in str(said.value)


def test_a_simulated_run_without_its_ledgers_is_contradicted(run):
    shutil.rmtree(run / "ledger")
    stranger = read_stranger(run)
    (gone,) = audit_ledgers(stranger).findings
    assert gone.contradicted
    assert (gone.test, gone.said[:28]) == ("ledger", "the run's ledgers are gone: ")
    deployed = replace(stranger, results=replace(stranger.results, simulation=False))
    assert audit_ledgers(deployed).outcome is Outcome.NOT_TESTED


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"clipping_norm": 0.01}, "county (C = 0.01 reported, and 0.5 configured)"),
        ({"steps": 1}, "county (1 steps reported, and 6 charged)"),
    ],
)
def test_a_report_is_held_against_configuration_and_charges(run, told, said):
    assert not contradicted(audit_ledgers(read_stranger(run)).findings)
    altered(run, of_county(**told))
    (found,) = [each for each in audit_ledgers(read_stranger(run)).findings if each.contradicted]
    assert found.test == "rate, clip, steps and noise"
    assert said in found.said


@pytest.mark.parametrize("words", [SHARED, COARSE, CLIENTS, CLIENTS_IN_SHARES])
def test_ledgers_of_honest_runs_are_not_contradicted(tmp_path, monkeypatch, words):
    """Where one adds noise for all, for others too, or on a grid whose rounding counts."""
    hurried(monkeypatch)
    stage = audit_ledgers(read_stranger(simulated(tmp_path / "run", words)))
    assert not contradicted(stage.findings)
    assert stage.outcome is Outcome.NOT_CONTRADICTED


def row_changed(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TRIGGER rows_never_change")
        database.execute("UPDATE rows SET body = replace(body, '{', '{ ') WHERE number = 2")
        database.commit()


@pytest.mark.parametrize(
    "damaged",
    [
        row_changed,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:3000]),
        lambda path: path.with_name(path.name + ".head").unlink(),
    ],
)
def test_a_ledger_that_is_damaged_is_contradicted(run, damaged):
    (path,) = (run / "ledger").glob("*.sqlite")
    assert audit_ledger_file(path).stages[0].outcome is Outcome.NOT_CONTRADICTED
    damaged(path)
    assert audit_ledger_file(path).exit_code is ExitCode.CONTRADICTED


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
