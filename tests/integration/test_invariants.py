"""The invariants of ARCHITECTURE.md, held against whole simulations in this process.

Those about one site stand in tests/unit/client, those about the round loop in tests/unit/server,
those about sources in tests/unit/simulations/test_sources.py, those about stops in test_resume.py.
Each site keeps a ledger of its own here, as a deployed one does; test_together.py has the other.
"""

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from whole_run import ROUNDS, SITES, SYSTEM, ledger_of, results, rows, uninterrupted

import simulations.simulate
import tacit.plans
from commands.compose import composed
from simulations.experiment import prepare
from simulations.grid import LocalGrid
from tacit.configuration import read_settings
from tacit.errors import ExitCode
from tacit.messages import ARRAYS, LEDGER
from tacit.models.weights import state_arrays


@pytest.fixture
def run(run):
    return lambda path, *more: run(path, "engine=loop", *more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return uninterrupted(tmp_path_factory.mktemp("whole") / "run", ROUNDS, "engine=loop")


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize(("engine", "purposes"), [("loop", 3), ("stacked", 2)])
def test_no_key_and_no_generator_state_is_ever_written(
    run, tmp_path, stream_keys, engine, purposes, seeded
):
    path = tmp_path / "run"
    assert run(path, f"engine={engine}", *([] if seeded else [SYSTEM]))[0] == ExitCode.DONE
    assert len(stream_keys) == purposes * len(SITES) * ROUNDS  # coins, noise, random layers
    contents = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert len(contents) > 8
    for content in contents.values():
        assert not any(key in content or key.hex().encode() in content for key in stream_keys)
    checkpoint = (path / "checkpoint" / "state.safetensors").read_bytes()
    header = checkpoint[8 : 8 + int.from_bytes(checkpoint[:8], "little")].decode()
    assert set(json.loads(header)) == {
        "__metadata__",
        "weights/head.weight",
        "weights/head.bias",
    }
    assert set(json.loads(header)["__metadata__"]) == {
        "format",
        "model",
        "run",
        "round",
        "receipts",
        "order",
        "clip_factor",
    }


def test_a_run_leaves_the_files_of_the_contract_and_no_pickle(whole):
    files = {str(file.relative_to(whole)) for file in whole.rglob("*") if file.is_file()}
    ledgers = {f"ledger/{site}.sqlite{end}" for site in SITES for end in ("", ".head")}
    assert files == ledgers | {
        ".lock",
        "checkpoint/state.safetensors",
        "config.yaml",
        "history.jsonl",
        "model.json",
        "model.safetensors",
        "report.html",
        "results.json",
    }
    for file in whole.rglob("*"):
        # A pickle begins with its protocol, torch's with that of zip.
        assert file.is_dir() or not file.read_bytes().startswith((b"\x80", b"PK\x03\x04"))


def test_seeded_noise_is_called_so_and_charges_infinity(whole):
    assert results(whole)["privacy"]["simulated_noise"] is True
    with ledger_of(whole, "county") as ledger:
        assert math.isinf(ledger.standing().pld)


def test_system_noise_differs_from_run_to_run(run, tmp_path):
    for name in ("one", "two"):
        assert run(tmp_path / name, SYSTEM)[0] == ExitCode.DONE
        assert results(tmp_path / name)["privacy"]["simulated_noise"] is False
        with ledger_of(tmp_path / name, "county") as ledger:
            assert 0.98 < ledger.standing().pld <= 1
    one, two = (results(tmp_path / name)["weights_sha256"] for name in ("one", "two"))
    assert one != two


def test_the_noise_seed_is_separate_from_the_seed(run, tmp_path, whole):
    """The same seeds give the same bits; another noise seed other noise and nothing else."""
    for name, more in {
        "same": ["privacy.noise_seed=0"],
        "noise": ["privacy.noise_seed=1"],
        "again": ["privacy.noise_seed=1"],
    }.items():
        assert run(tmp_path / name, *more)[0] == ExitCode.DONE
    digest = {path.name: results(path)["weights_sha256"] for path in tmp_path.iterdir()}
    assert digest["same"] == results(whole)["weights_sha256"]
    assert digest["noise"] == digest["again"] != digest["same"]
    # Before the first round they were worth the same.
    before = [
        (path / "history.jsonl").read_text().splitlines()[0] for path in (tmp_path / "noise", whole)
    ]
    assert json.loads(before[0])["loss"] == json.loads(before[1])["loss"]


def initial_weights(*words):
    given = ["model=tabular", "model.train=all", "model.pretraining=null"]
    return state_arrays(prepare(read_settings(composed([*given, *words]))).shared.module)


def same(one, two):
    return all(np.array_equal(one[name], two[name]) for name in one)


def test_initial_weights_follow_the_seed_alone():
    first = initial_weights()
    assert same(first, initial_weights())
    assert same(first, initial_weights("privacy.noise_seed=1"))
    assert same(first, initial_weights(SYSTEM))
    assert not same(first, initial_weights("seed=1", "privacy.noise_seed=0"))


def test_the_plan_is_reserved_first_and_never_changes(whole):
    for site in SITES:
        kinds = [row["kind"] for row in rows(whole, site)]
        assert kinds == ["opened/2", "reserved/1"] + ["charged/1", "replied/1"] * ROUNDS
        _, reserved, *rest = rows(whole, site)
        plan = reserved["plan"]
        assert (plan["rounds"], plan["epsilon"], plan["delta"]) == (ROUNDS, 1.0, 1e-4)
        assert {row["event"] for row in rest if row["kind"] == "charged/1"} == {plan["event"]}


def test_a_plan_over_budget_is_refused_before_anything_is_spent(run, tmp_path, monkeypatch, caplog):
    honest = tacit.plans.noise_multiplier
    monkeypatch.setattr(tacit.plans, "noise_multiplier", lambda *a, **k: 0.9 * honest(*a, **k))
    code, error = run(tmp_path / "run")
    assert code == ExitCode.REFUSED
    # The site's terminal hears why; the coordinator a word of the closed list.
    assert "costs ε = 1.1" in caplog.text
    assert "0 of 4 sites take part in the run, 4 are needed; missing: county (budget)" in error
    assert len(error.splitlines()) == 1
    assert [row["kind"] for row in rows(tmp_path / "run", "county")] == ["opened/2"]


def test_only_the_plan_and_training_are_asked_and_nothing_private_leaves(
    run, tmp_path, monkeypatch
):
    asked, answered = [], []
    honest = LocalGrid.pull_messages

    def watched(grid, ids):
        replies = list(honest(grid, ids))
        asked.extend(reply.metadata.message_type for reply in replies)
        answered.extend((set(reply.content), set(reply.content[LEDGER])) for reply in replies)
        return replies

    monkeypatch.setattr(LocalGrid, "pull_messages", watched)
    assert run(tmp_path / "run")[0] == ExitCode.DONE
    assert asked == ["query.reserve"] * len(SITES) + ["train"] * ROUNDS * len(SITES)
    confirmed, trained = ({LEDGER}, {"count", "head"}), ({ARRAYS, LEDGER}, {"count", "head"})
    assert answered == [confirmed] * len(SITES) + [trained] * ROUNDS * len(SITES)


def test_a_cut_ledger_stops_the_site_between_rounds(run, tmp_path, monkeypatch):
    """Database and head cut together, as if an old copy was put back: the receipt finds it."""
    path = tmp_path / "run"
    honest = simulations.simulate.save_checkpoint

    def cut(folder, name, state):
        honest(folder, name, state)
        if state.round == 2:
            forget_last_rows(path / "ledger" / "screening.sqlite", 2)

    monkeypatch.setattr(simulations.simulate, "save_checkpoint", cut)
    code, error = run(path)
    assert code == ExitCode.TOO_FEW_SITES
    assert "round 3: 3 of 4 sites replied" in error
    assert "screening (ledger_damaged)" in error


def forget_last_rows(path, count):
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DROP TRIGGER rows_never_go")
        database.execute(
            "DELETE FROM rows WHERE number > (SELECT MAX(number) FROM rows) - ?", (count,)
        )
        number, head = database.execute(
            "SELECT number, hash FROM rows ORDER BY number DESC LIMIT 1"
        ).fetchone()
    kept = json.loads(Path(f"{path}.head").read_text())
    Path(f"{path}.head").write_text(json.dumps(kept | {"count": number, "head": head}) + "\n")
