"""Several processes hold one ledger, and no budget is spent twice."""

import multiprocessing
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from ledger_example import PLAN, POLICY, ROUND, kinds, open_ledger

from tacit.errors import RefusedError, RunDirectoryError, TacitError
from tacit.privacy import ledger_file
from tacit.privacy.chain import Chain
from tacit.privacy.policy import Plan, Policy

SHARED = Plan(run="shared", event=ROUND, rounds=1, epsilon=2.0, delta=1e-5)


def contend(directory, name, barrier, results):
    """Race another process through opening, reserving and charging, on several ledgers."""
    outcome = []
    for number in range(30):
        barrier.wait()
        open_ledger(Path(directory) / f"opened{number}.sqlite").close()
    for number in range(4):
        barrier.wait()
        with open_ledger(Path(directory) / f"{number}.sqlite") as ledger:
            for call, arguments in (
                (ledger.reserve, (replace(PLAN, run=name), replace(POLICY, lifetime_epsilon=5.0))),
                (ledger.reserve, (replace(SHARED, run="shared"), POLICY)),
                (ledger.charge, ("shared", name, ROUND, POLICY)),
            ):
                barrier.wait()
                try:
                    call(*arguments)
                    outcome.append("done")
                except RefusedError as error:
                    outcome.append(str(error.reason))
            barrier.wait()
    results.put(outcome)


def test_two_processes_never_spend_the_same_budget(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2, timeout=60), context.Queue()
    processes = [
        context.Process(target=contend, args=(str(tmp_path), name, barrier, results))
        for name in ("left", "right")
    ]
    for process in processes:
        process.start()
    left, right = (results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    for number in range(4):
        own, shared, charged = (
            sorted([left[3 * number + step], right[3 * number + step]]) for step in range(3)
        )
        assert own == ["budget", "done"]
        assert shared == ["done", "done"]
        assert charged == ["done", "too_many_rounds"]
        with open_ledger(tmp_path / f"{number}.sqlite") as ledger:
            assert kinds(ledger) == ["opened", "reserved", "reserved", "charged"]
            assert ledger.spent_events() == [ROUND]


def reserve_in_the_middle(monkeypatch, ledger, other):
    """Reserve for `other` between the check and the write of `ledger`."""
    policy = replace(POLICY, lifetime_epsilon=5.0)
    check, done = Policy.check_lifetime, []

    def interrupted(self, plan, *arguments):
        check(self, plan, *arguments)
        if plan.run == "a":
            other.reserve(replace(PLAN, run="b"), policy)
            done.append("b")

    monkeypatch.setattr(Policy, "check_lifetime", interrupted)
    with suppress(TacitError):
        ledger.reserve(PLAN, policy)
        done.append("a")
    return done


def test_nobody_comes_between_the_check_and_the_write(path, monkeypatch):
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 0.01)
    with open_ledger(path) as ledger, open_ledger(path) as other:
        with pytest.raises(RunDirectoryError, match="in use"), ledger._chain.transaction():
            other.reserve(PLAN, POLICY)
        assert reserve_in_the_middle(monkeypatch, ledger, other) == []
        assert kinds(ledger) == ["opened"]


def test_planted_without_the_lock_the_second_row_is_still_refused(path, monkeypatch):
    monkeypatch.setattr(Chain, "_alone", lambda self: nullcontext())
    with open_ledger(path) as ledger, open_ledger(path) as other:
        assert reserve_in_the_middle(monkeypatch, ledger, other) == ["b"]
        assert kinds(ledger) == ["opened", "reserved"]
