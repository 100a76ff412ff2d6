"""A stop at any point of a round, a disk that fills up, a site that breaks: nothing is given away.

The power is cut inside this process, at points that a signal could never be timed to hit; real
processes and signals are in test_resume.py.
"""

import errno
import os

import pytest
from whole_run import (
    ROUNDS,
    SITES,
    SYSTEM,
    Crash,
    charges,
    epsilons,
    results,
    rounds_of,
    rows,
    uninterrupted,
)

import client.task
import simulations.simulate
from client import door
from tacit.errors import ExitCode
from tacit.privacy.chain import Chain
from tacit.runs.directory import RunDirectory


@pytest.fixture
def run(run):
    """Sites one after another, so that there is a point between two of them."""
    return lambda path, *more: run(path, "engine=loop", *more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same, never interrupted."""
    return uninterrupted(tmp_path_factory.mktemp("whole") / "run", ROUNDS, "engine=loop")


@pytest.fixture
def crashed(run, tmp_path):
    """Start a run and cut its power at the n-th call of a function, before its work or after."""

    def cut_at(owner, name, call, after, *more):
        honest = getattr(owner, name)
        calls = []

        def cut(*arguments, **named):
            calls.append(name)
            if len(calls) == call and not after:
                raise Crash
            found = honest(*arguments, **named)
            if len(calls) == call:
                raise Crash
            return found

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(owner, name, cut)
            with pytest.raises(Crash):
                run(tmp_path / "run", *more)
        return tmp_path / "run"

    return cut_at


def points_of(number):
    """Where a round can be cut: what is called, for which time, and whether it does its work."""
    second_site = len(SITES) * (number - 1) + 2
    # A new run writes a checkpoint and a line of history before its first round.
    record = number + 1
    return {
        "charged, data untouched": (client.task, "train_round", second_site, False),
        "trained, no reply stored": (client.task, "train_round", second_site, True),
        "reply stored, not sent": (door, "replay", second_site, False),
        "all replied, round not recorded": (RunDirectory, "append", record, False),
        "in history, not in the checkpoint": (
            simulations.simulate,
            "save_checkpoint",
            record,
            False,
        ),
        "in the checkpoint": (simulations.simulate, "save_checkpoint", record, True),
    }


POINTS = {
    **points_of(3),
    **{f"last round: {point}": cut for point, cut in points_of(ROUNDS).items()},
    "trained out, no results": (simulations.simulate, "write", 1, False),
    "results, no report": (simulations.simulate, "write", 1, True),
}
LOSES_A_CHARGE = ("charged, data untouched", "trained, no reply stored")


@pytest.mark.parametrize("point", POINTS)
def test_with_seeded_noise_a_crash_changes_nothing(crashed, resume, whole, point):
    path = crashed(*POINTS[point])
    assert resume(path) == (ExitCode.DONE, "")
    assert rounds_of(path) == list(range(ROUNDS + 1))
    assert results(path)["weights_sha256"] == results(whole)["weights_sha256"]
    assert results(path)["rounds"] == ROUNDS
    assert epsilons(path) == epsilons(whole)
    repeats = [row["repeat"] for site in SITES for row in charges(path, site)]
    lost = point.endswith(LOSES_A_CHARGE)
    assert repeats.count(True) == lost
    assert len(repeats) == ROUNDS * len(SITES) + lost


@pytest.mark.parametrize("point", POINTS)
def test_with_system_noise_a_crash_wastes_budget_at_worst(crashed, resume, stream_keys, point):
    path = crashed(*POINTS[point], SYSTEM)
    assert resume(path) == (ExitCode.DONE, "")
    # The site whose charge was lost has none left for the last round, which so never happens.
    lost = point.endswith(LOSES_A_CHARGE)
    assert results(path)["rounds"] == ROUNDS - lost
    assert any("not given back" in note for note in results(path)["notes"]) == lost
    assert rounds_of(path) == list(range(ROUNDS + 1 - lost))
    for site, (epsilon, budget) in epsilons(path).items():
        assert [row["repeat"] for row in charges(path, site)].count(True) == 0
        assert len(charges(path, site)) <= ROUNDS
        assert epsilon <= budget
    # No noise was used twice.
    assert len(set(stream_keys)) == len(stream_keys) >= 3 * len(SITES) * (ROUNDS - 1)


def test_too_few_sites_leave_the_last_complete_round(run, resume, tmp_path, whole, monkeypatch):
    path = tmp_path / "run"
    honest = client.task.train_round
    calls = []

    def breaks(*arguments, **more):
        calls.append(1)
        if len(calls) == 11:
            raise RuntimeError("row 17: chol=603")
        honest(*arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(client.task, "train_round", breaks)
        code, error = run(path)
    assert code == ExitCode.TOO_FEW_SITES
    last = error.splitlines()[-1]
    assert last.startswith("error: round 3: 3 of 4 sites replied, 4 are needed")
    assert "screening (not_available)" in last
    assert "603" not in last
    assert rounds_of(path) == [0, 1, 2]
    assert not (path / "results.json").exists()
    assert [row["kind"] for row in rows(path, "screening")][-1] == "charged/1"
    # What broke is gone: the run goes on where it was.
    assert resume(path)[0] == ExitCode.DONE
    assert results(path)["weights_sha256"] == results(whole)["weights_sha256"]


def fill_up(monkeypatch, owner, name, call, concerns=lambda *arguments: True):
    """From the n-th call that concerns a file on, its disk is full."""
    honest = getattr(owner, name)
    calls = []

    def fills(*arguments):
        calls.extend([1] * bool(concerns(*arguments)))
        if len(calls) >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(*arguments)

    monkeypatch.setattr(owner, name, fills)


def file_of(descriptor):
    return os.readlink(f"/proc/self/fd/{descriptor}")


FULL = {
    "checkpoint": (os, "fsync", 3, lambda fd: "state.safetensors" in file_of(fd)),
    "head of a ledger": (os, "fsync", 6, lambda fd: "referral.sqlite.head" in file_of(fd)),
    "history": (RunDirectory, "append", 3),
}


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("where", FULL)
def test_a_disk_that_fills_up(run, resume, tmp_path, whole, monkeypatch, where):
    path = tmp_path / "run"
    with monkeypatch.context() as patched:
        fill_up(patched, *FULL[where])
        code, error = run(path)
    assert code == ExitCode.BAD_INPUT
    assert len(error.splitlines()) == 1
    assert error.startswith("error: ")
    assert "disk is full" in error or "No space left" in error
    for site in SITES:
        assert rows(path, site)[1]["kind"] == "reserved/1"
    assert resume(path) == (ExitCode.DONE, "")
    assert results(path)["weights_sha256"] == results(whole)["weights_sha256"]
    assert epsilons(path) == epsilons(whole)


def test_a_ledger_that_cannot_grow(run, resume, tmp_path, monkeypatch):
    """SQLite itself says that the disk is full."""
    path = tmp_path / "run"
    honest = Chain.append
    calls = []

    def append(chain, fields):
        calls.append(1)
        if len(calls) == 25:
            (pages,) = chain._database.execute("PRAGMA page_count").fetchone()
            chain._database.execute(f"PRAGMA max_page_count={pages}")
            fields = fields | {"padding": "x" * 2**20}
        return honest(chain, fields)

    with monkeypatch.context() as patched:
        patched.setattr(Chain, "append", append)
        code, error = run(path)
    assert code == ExitCode.BAD_INPUT
    assert "free space" in error
    assert len(error.splitlines()) == 1
    assert resume(path)[0] == ExitCode.DONE
