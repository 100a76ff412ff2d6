"""The ledger: nothing is spent twice, nothing is given back, nothing changes unseen."""

import errno
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tacit.errors import (
    ConfigurationError,
    LedgerError,
    RefusedError,
    RunDirectoryError,
    TacitError,
)
from tacit.privacy import chain as chain_module
from tacit.privacy import ledger as ledger_module
from tacit.privacy.chain import Chain, Receipt
from tacit.privacy.events import ExactRelease, GaussianSteps, Relation, Unit
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Plan, Policy, Reason

ROUND = GaussianSteps(noise_multiplier=10.0, sampling_rate=1.0, steps=10, clipping_norm=1.0)
PLAN = Plan(run="a", event=ROUND, rounds=10, epsilon=4.4, delta=1e-5)
SEEDED = replace(PLAN, predictable=True)
EXACT = Plan(run="x", event=ExactRelease("sum"), rounds=2, epsilon=math.inf, delta=0.0)
POLICY = Policy(epsilon_per_run=5.0, lifetime_epsilon=10.0, delta_per_run=1e-5)
TEST_DATA = replace(POLICY, test_data=True, require_privacy=False)

# 100 full-batch steps at σ = 10, δ = 1e-5: by the closed form of Balle and Wang 2018, theorem 8,
# and by Opacus 1.6's RDP accountant; 150 and 50 steps are checked against each other only.
PLD_OF_PLAN = 4.37718
RDP_OF_PLAN = 4.7285


def open_ledger(path, **change):
    fixed = {
        "data_set": "ward 3",
        "unit": Unit.RECORD,
        "relation": Relation.ADD_OR_REMOVE_ONE,
        "delta": 1e-5,
    }
    return Ledger.open(path, **(fixed | change))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ward.sqlite"


@pytest.fixture
def ledger(path):
    with open_ledger(path) as opened:
        yield opened


def refusal(call, *arguments):
    with pytest.raises(RefusedError) as caught:
        call(*arguments)
    return caught.value.reason


def kinds(ledger):
    return [json.loads(row.body)["kind"].split("/")[0] for row in ledger.rows()]


def fill(ledger):
    """Write rows of every kind; the run stays open with a reply."""
    ledger.reserve(PLAN, POLICY)
    ledger.settle(ledger.charge("a", "r1", ROUND, POLICY), 3)
    ledger.store_reply(ledger.charge("a", "r1", ROUND, POLICY), b"first")
    ledger.reserve(replace(PLAN, run="b", rounds=1), POLICY)
    ledger.close_run("b")
    ledger.store_reply(ledger.charge("a", "r2", ROUND, POLICY), b"second")


# --- what one run does -----------------------------------------------------------------------


def test_a_run_goes_reserve_charge_reply(ledger):
    ledger.reserve(PLAN, POLICY)
    for number in range(10):
        charge = ledger.charge("a", f"r{number}", ROUND, POLICY)
        ledger.store_reply(charge, b"reply %d" % number)
    assert refusal(ledger.charge, "a", "r10", ROUND, POLICY) is Reason.TOO_MANY_ROUNDS
    assert ledger.spent_events() == ledger.spent_events("a") == [replace(ROUND, steps=100)]
    assert kinds(ledger) == ["opened", "reserved", *["charged", "replied"] * 10]
    standing = ledger.standing()
    assert standing.pld == pytest.approx(PLD_OF_PLAN, abs=1e-4)
    assert standing.rdp == pytest.approx(RDP_OF_PLAN, abs=1e-3)


def test_a_new_ledger_has_spent_nothing(ledger):
    assert ledger.spent_events() == []
    assert (ledger.standing().pld, ledger.standing().rdp) == (0.0, 0.0)
    assert kinds(ledger) == ["opened"]


def test_nothing_is_charged_without_a_reservation(ledger):
    assert refusal(ledger.charge, "a", "r1", ROUND, POLICY) is Reason.NOT_RESERVED
    ledger.reserve(PLAN, POLICY)
    assert refusal(ledger.charge, "b", "r1", ROUND, POLICY) is Reason.NOT_RESERVED
    more = replace(ROUND, steps=11)
    assert refusal(ledger.charge, "a", "r1", more, POLICY) is Reason.PLAN_DIFFERS
    ledger.close_run("a")
    assert refusal(ledger.charge, "a", "r1", ROUND, POLICY) is Reason.NOT_RESERVED
    assert refusal(ledger.reserve, PLAN, POLICY) is Reason.NOT_RESERVED
    assert ledger.spent_events() == []


def test_the_same_plan_is_reserved_once_and_another_is_refused(ledger):
    ledger.reserve(PLAN, POLICY)
    ledger.reserve(PLAN, POLICY)
    assert kinds(ledger) == ["opened", "reserved"]
    assert refusal(ledger.reserve, replace(PLAN, rounds=9), POLICY) is Reason.PLAN_DIFFERS
    tighter = replace(POLICY, epsilon_per_run=4.0)
    assert refusal(ledger.reserve, PLAN, tighter) is Reason.BUDGET
    assert refusal(ledger.charge, "a", "r1", ROUND, tighter) is Reason.BUDGET


def test_unit_and_relation_are_the_data_sets(ledger):
    person = replace(PLAN, event=replace(ROUND, unit=Unit.PERSON))
    assert refusal(ledger.reserve, person, POLICY) is Reason.UNIT_DIFFERS
    zero = replace(PLAN, event=replace(ROUND, relation=Relation.REPLACE_WITH_ZERO))
    assert refusal(ledger.reserve, zero, POLICY) is Reason.RELATION_DIFFERS


def test_a_plan_over_its_budget_is_not_reserved(ledger):
    assert refusal(ledger.reserve, replace(PLAN, epsilon=4.3), POLICY) is Reason.BUDGET
    assert kinds(ledger) == ["opened"]


def test_a_request_without_a_reply_is_charged_anew(ledger):
    ledger.reserve(PLAN, POLICY)
    for _ in range(10):
        assert not ledger.charge("a", "r1", ROUND, POLICY).repeat
    assert refusal(ledger.charge, "a", "r1", ROUND, POLICY) is Reason.TOO_MANY_ROUNDS


def test_only_the_latest_reply_is_kept_and_its_request_is_not_charged(ledger):
    ledger.reserve(PLAN, POLICY)
    assert ledger.stored_reply("a", "r1") is None
    ledger.store_reply(ledger.charge("a", "r1", ROUND, POLICY), b"\x00first\xff")
    assert ledger.stored_reply("a", "r1") == b"\x00first\xff"
    assert ledger.stored_reply("b", "r1") is None
    with pytest.raises(TacitError, match="has a reply"):
        ledger.charge("a", "r1", ROUND, POLICY)
    ledger.store_reply(ledger.charge("a", "r2", ROUND, POLICY), b"")
    assert ledger.stored_reply("a", "r1") is None
    assert ledger.stored_reply("a", "r2") == b""
    ledger.charge("a", "r1", ROUND, POLICY)
    assert ledger.spent_events() == [replace(ROUND, steps=30)]
    ledger.close_run("a")
    assert ledger.stored_reply("a", "r2") is None
    assert ledger._chain.reply("a") is None


def test_a_charge_is_settled_once_downward_and_never_after_its_reply(ledger):
    ledger.reserve(PLAN, POLICY)
    charge = ledger.charge("a", "r1", ROUND, POLICY)
    for steps in (10, 11, -1):
        with pytest.raises(TacitError, match="only sinks"):
            ledger.settle(charge, steps)
    ledger.settle(charge, 4)
    with pytest.raises(TacitError, match="settled or replied"):
        ledger.settle(charge, 3)
    assert ledger.spent_events() == [replace(ROUND, steps=4)]
    replied = ledger.charge("a", "r2", ROUND, POLICY)
    ledger.store_reply(replied, b"reply")
    with pytest.raises(TacitError, match="settled or replied"):
        ledger.settle(replied, 0)
    with pytest.raises(TacitError, match="has a reply"):
        ledger.store_reply(replied, b"another")


def test_a_round_settled_to_nothing_is_free_again_and_pays_for_no_reply(ledger):
    ledger.reserve(replace(PLAN, rounds=1), POLICY)
    charge = ledger.charge("a", "r1", ROUND, POLICY)
    ledger.settle(charge, 0)
    with pytest.raises(TacitError, match="settled to nothing"):
        ledger.store_reply(charge, b"for nothing")
    ledger.settle(ledger.charge("a", "r1", ROUND, POLICY), 1)
    assert refusal(ledger.charge, "a", "r2", ROUND, POLICY) is Reason.TOO_MANY_ROUNDS


def test_a_charge_of_another_ledger_is_not_taken(ledger, tmp_path):
    ledger.reserve(PLAN, POLICY)
    charge = ledger.charge("a", "r1", ROUND, POLICY)
    for forged in (replace(charge, number=2), replace(charge, event=replace(ROUND, steps=9))):
        with pytest.raises(TacitError, match="not of this ledger"):
            ledger.settle(forged, 0)
        with pytest.raises(TacitError, match="not of this ledger"):
            ledger.store_reply(forged, b"")


# --- predictable noise and exact releases ------------------------------------------------------


def test_predictable_noise_needs_test_data_and_makes_the_lifetime_infinite(ledger):
    assert refusal(ledger.reserve, SEEDED, POLICY) is Reason.DATA_NOT_TEST
    ledger.reserve(SEEDED, TEST_DATA)
    assert ledger.standing().pld == 0.0
    assert refusal(ledger.charge, "a", "r1", ROUND, POLICY) is Reason.DATA_NOT_TEST
    ledger.charge("a", "r1", ROUND, TEST_DATA)
    assert (ledger.standing().pld, ledger.standing().rdp) == (math.inf, math.inf)
    assert ledger.spent_events("a") == [ROUND]
    ledger.reserve(replace(SEEDED, run="b"), TEST_DATA)
    ledger.reserve(EXACT, TEST_DATA)


def test_a_repeated_predictable_round_is_no_further_round(ledger):
    ledger.reserve(replace(SEEDED, rounds=2), TEST_DATA)
    first = ledger.charge("a", "r1", ROUND, TEST_DATA)
    ledger.settle(first, 3)
    assert ledger.spent_events() == [replace(ROUND, steps=3)]
    again = ledger.charge("a", "r1", ROUND, TEST_DATA)
    assert (first.repeat, again.repeat) == (False, True)
    assert ledger.spent_events() == [ROUND]
    ledger.settle(again, 5)
    assert ledger.spent_events() == [replace(ROUND, steps=5)]
    ledger.charge("a", "r2", ROUND, TEST_DATA)
    ledger.store_reply(ledger.charge("a", "r1", ROUND, TEST_DATA), b"reply")
    assert refusal(ledger.charge, "a", "r3", ROUND, TEST_DATA) is Reason.TOO_MANY_ROUNDS
    assert ledger.spent_events() == [replace(ROUND, steps=20)]


def test_runs_with_and_without_a_finite_epsilon_never_share_a_ledger(ledger, tmp_path):
    ledger.reserve(PLAN, TEST_DATA)
    assert refusal(ledger.reserve, replace(SEEDED, run="b"), TEST_DATA) is Reason.BUDGET
    assert refusal(ledger.reserve, EXACT, TEST_DATA) is Reason.BUDGET
    with open_ledger(tmp_path / "other.sqlite") as other:
        other.reserve(EXACT, TEST_DATA)
        other.charge("x", "r1", EXACT.event, TEST_DATA)
        assert other.standing().pld == math.inf
        assert other.spent_events() == [EXACT.event]
        assert refusal(other.reserve, PLAN, TEST_DATA) is Reason.BUDGET


def test_an_exact_release_is_refused_where_privacy_is_required(ledger):
    private = replace(TEST_DATA, require_privacy=True)
    assert refusal(ledger.reserve, EXACT, private) is Reason.PRIVACY_REQUIRED


# --- the lifetime ------------------------------------------------------------------------------


def test_a_second_run_is_refused_by_rdp_over_both(ledger):
    half = replace(PLAN, rounds=5)
    policy = replace(POLICY, lifetime_epsilon=(PLD_OF_PLAN + RDP_OF_PLAN) / 2)
    ledger.reserve(half, policy)
    second = replace(half, run="b")
    assert refusal(ledger.reserve, second, policy) is Reason.BUDGET
    ledger.reserve(second, replace(policy, lifetime_epsilon=RDP_OF_PLAN + 0.01))


def test_closing_a_run_frees_only_what_was_not_charged(ledger):
    policy = replace(POLICY, lifetime_epsilon=RDP_OF_PLAN + 0.01)
    ledger.reserve(PLAN, policy)
    ledger.charge("a", "r1", ROUND, policy)
    rest = replace(PLAN, run="b", rounds=9)
    assert refusal(ledger.reserve, rest, policy) is Reason.BUDGET
    ledger.close_run("a")
    assert refusal(ledger.reserve, replace(PLAN, run="b"), policy) is Reason.BUDGET
    ledger.reserve(rest, policy)
    assert ledger.spent_events() == [ROUND]


def test_the_lifetime_is_counted_at_the_ledgers_delta(tmp_path):
    # At a smaller lifetime δ the same run costs more than it declares at its own.
    policy = replace(POLICY, lifetime_epsilon=4.5)
    with open_ledger(tmp_path / "small.sqlite", delta=1e-9) as small:
        assert refusal(small.reserve, PLAN, policy) is Reason.BUDGET
    with open_ledger(tmp_path / "same.sqlite") as same:
        same.reserve(PLAN, policy)


def test_a_run_that_goes_on_is_not_counted_beside_itself(ledger):
    policy = replace(POLICY, lifetime_epsilon=4.5)
    ledger.reserve(PLAN, policy)
    ledger.charge("a", "r1", ROUND, policy)
    ledger.reserve(PLAN, policy)


# --- opening ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("data_set", "ward 4", "'ward 3', not 'ward 4'"),
        ("unit", Unit.PERSON, "'record', not .*person"),
        ("relation", Relation.REPLACE_WITH_ZERO, "'add_or_remove_one', not .*replace_with_zero"),
        ("delta", 1e-6, "1e-05, not 1e-06"),
    ],
)
def test_a_ledger_keeps_what_it_was_opened_with(ledger, path, key, value, shown):
    with pytest.raises(ConfigurationError, match=f"{key}={shown}"):
        open_ledger(path, **{key: value})


@pytest.mark.parametrize("change", [{"data_set": ""}, {"delta": 0.0}, {"delta": 1.0}])
def test_a_ledger_needs_a_name_and_a_delta(path, change):
    with pytest.raises(ConfigurationError):
        open_ledger(path, **change)
    assert not path.exists()


def test_a_ledger_in_no_directory_is_named(path):
    with pytest.raises(ConfigurationError, match=r"nowhere.*directory"):
        open_ledger(path.parent / "nowhere" / "ward.sqlite")


def test_everything_stands_after_reopening(path):
    with open_ledger(path) as ledger:
        fill(ledger)
        before = ledger.rows(), ledger.spent_events(), ledger.receipt()
    with open_ledger(path) as ledger:
        assert (ledger.rows(), ledger.spent_events(), ledger.receipt()) == before
        assert ledger.stored_reply("a", "r2") == b"second"
        ledger.reserve(PLAN, POLICY)
        ledger.charge("a", "r3", ROUND, POLICY)


def test_two_hold_one_ledger_and_each_sees_the_others_rows(ledger, path):
    with open_ledger(path) as other:
        ledger.reserve(PLAN, POLICY)
        charge = other.charge("a", "r1", ROUND, POLICY)
        ledger.store_reply(charge, b"reply")
        assert other.stored_reply("a", "r1") == b"reply"
        assert other.rows() == ledger.rows()


def test_the_head_may_lie_elsewhere(path, tmp_path):
    elsewhere = tmp_path / "other disk"
    elsewhere.mkdir()
    with open_ledger(path, head_path=elsewhere / "head") as ledger:
        fill(ledger)
    assert json.loads((elsewhere / "head").read_text())["count"] == 10
    with open_ledger(path, head_path=elsewhere / "head"):
        pass


# --- durability ------------------------------------------------------------------------------


def test_a_commit_waits_for_the_disk(ledger, path, monkeypatch):
    database = ledger._chain._database
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), real(file)))
    ledger.reserve(PLAN, POLICY)
    assert len(synced) == 2, "the head file and its directory"


KILLED = """
import sys
from pathlib import Path
from tests.unit.privacy.test_ledger import PLAN, POLICY, ROUND, open_ledger
ledger = open_ledger(Path(sys.argv[1]))
ledger.reserve(PLAN, POLICY)
ledger.charge("a", "r1", ROUND, POLICY)
print("charged", flush=True)
sys.stdin.read()
"""


def test_a_charge_outlives_kill_9(path):
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout.readline() == "charged\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with open_ledger(path) as ledger:
        assert ledger.spent_events() == [ROUND]
        assert ledger.stored_reply("a", "r1") is None


def test_a_crash_between_the_row_and_the_head_keeps_the_row(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_ledger(path) as ledger:
        ledger.reserve(PLAN, POLICY)
        head = path.with_name(path.name + ".head").read_text()
        with monkeypatch.context() as patch:
            patch.setattr(Chain, "_write_head", full)
            with pytest.raises(RunDirectoryError, match="No space left"):
                ledger.charge("a", "r1", ROUND, POLICY)
    assert path.with_name(path.name + ".head").read_text() == head
    with open_ledger(path) as ledger:
        assert ledger.spent_events() == [ROUND]
    assert json.loads(path.with_name(path.name + ".head").read_text())["count"] == 3


def test_a_full_disk_writes_nothing_and_says_so(ledger):
    ledger.reserve(PLAN, POLICY)
    database = ledger._chain._database
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    charge = ledger.charge("a", "r1", ROUND, POLICY)
    with pytest.raises(RunDirectoryError, match="full"):
        ledger.store_reply(charge, bytes(100_000))
    database.execute("PRAGMA max_page_count = 100000")
    assert kinds(ledger) == ["opened", "reserved", "charged"]
    ledger.store_reply(charge, bytes(100_000))
    ledger.verify()


# --- two at once -----------------------------------------------------------------------------


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


SHARED = Plan(run="shared", event=ROUND, rounds=1, epsilon=2.0, delta=1e-5)


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

    def interrupted(self, plan, others, delta):
        check(self, plan, others, delta)
        if plan.run == "a":
            other.reserve(replace(PLAN, run="b"), policy)
            done.append("b")

    monkeypatch.setattr(Policy, "check_lifetime", interrupted)
    with suppress(TacitError):
        ledger.reserve(PLAN, policy)
        done.append("a")
    return done


def test_nobody_comes_between_the_check_and_the_write(path, monkeypatch):
    monkeypatch.setattr(chain_module, "BUSY_SECONDS", 0.01)
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


# --- the chain ---------------------------------------------------------------------------------


def test_the_chain_is_what_its_format_says(ledger, path):
    """Recompute it from the file alone: an old ledger must be read for ever."""
    fill(ledger)
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT number, body, hash FROM rows ORDER BY number").fetchall()
    digest = bytes(32)
    for place, (number, body, written) in enumerate(rows, start=1):
        digest = hashlib.sha256(b"tacit-ledger-row/1\0" + digest + body.encode()).digest()
        assert (number, written) == (place, digest.hex())
        assert body == json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
    head = json.loads(path.with_name("ward.sqlite.head").read_text())
    assert head == {"format": "tacit-ledger-head/1", "count": 10, "head": digest.hex()}
    assert ledger.receipt() == Receipt(10, digest.hex())


# --- tampering -------------------------------------------------------------------------------


def raw(path):
    """Open the file as somebody who wants to change it."""
    database = sqlite3.connect(path, isolation_level=None)
    for trigger in ("rows_never_change", "rows_never_go", "rows_only_follow"):
        database.execute(f"DROP TRIGGER {trigger}")
    return closing(database)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows SET body = '{}' WHERE number = 2",
        "DELETE FROM rows WHERE number = 2",
        "DELETE FROM rows",
        "INSERT OR REPLACE INTO rows VALUES (2, '{}', '')",
        "REPLACE INTO rows SELECT number, '{}', hash FROM rows WHERE number = 2",
        "INSERT INTO rows VALUES (99, '{}', '')",
        "INSERT INTO rows (body, hash) VALUES ('{}', '')",
    ],
)
def test_the_file_itself_refuses_changes(ledger, path, statement):
    fill(ledger)
    with (
        closing(sqlite3.connect(path)) as database,
        pytest.raises(sqlite3.IntegrityError, match="rows of a ledger"),
    ):
        database.execute(statement)
    ledger.verify()


def test_any_changed_byte_of_any_row_is_found(path):
    with open_ledger(path) as ledger:
        fill(ledger)
        changed = 0
        with raw(path) as database:
            database.execute("PRAGMA synchronous=OFF")
            for row in ledger.rows():
                for column, text in (("body", row.body), ("hash", row.hash)):
                    change = f"UPDATE rows SET {column} = ? WHERE number = {row.number}"
                    for place, letter in enumerate(text):
                        other = chr(ord(letter) ^ 1)
                        database.execute(change, (text[:place] + other + text[place + 1 :],))
                        with pytest.raises(LedgerError):
                            ledger.verify()
                        changed += 1
                    database.execute(change, (text,))
        ledger.verify()
        assert changed > 2000


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM rows WHERE number = 10",
        "DELETE FROM rows WHERE number > 2",
        "DELETE FROM rows WHERE number = 4",
        "DELETE FROM rows WHERE number = 1",
        "DELETE FROM rows",
        "DROP TABLE rows",
        "UPDATE rows SET number = -4 WHERE number = 4",
        "UPDATE rows SET number = 11 WHERE number = 10",
        "INSERT INTO rows SELECT number + 10, body, hash FROM rows WHERE number = 10",
        "INSERT INTO rows SELECT 0, body, hash FROM rows WHERE number = 1",
        "UPDATE rows SET body = (SELECT body FROM rows r WHERE r.number = 12 - rows.number),"
        " hash = (SELECT hash FROM rows r WHERE r.number = 12 - rows.number)"
        " WHERE number IN (5, 7)",
        "UPDATE rows SET body = (SELECT body FROM rows r WHERE r.number = 12 - rows.number)"
        " WHERE number IN (5, 7)",
        "UPDATE rows SET hash = x'ff' WHERE number = 10",
        "UPDATE rows SET body = x'ff' WHERE number = 10",
        "UPDATE replies SET reply = x'00'",
        "DELETE FROM replies",
    ],
)
def test_rows_missing_swapped_moved_or_added_are_found(path, statement):
    with open_ledger(path) as ledger:
        fill(ledger)
        assert len(ledger.rows()) == 10
        with raw(path) as database:
            database.execute(statement)
        with pytest.raises(LedgerError, match="damaged"):
            ledger.verify()
    with pytest.raises(LedgerError, match="damaged"):
        open_ledger(path)


def test_a_tail_cut_while_the_ledger_is_open_stops_the_next_charge(path):
    with open_ledger(path) as ledger:
        fill(ledger)
        with raw(path) as database:
            database.execute("DELETE FROM rows WHERE number > 8")
        for call in (
            lambda: ledger.charge("a", "r3", ROUND, POLICY),
            lambda: ledger.reserve(PLAN, POLICY),
            lambda: ledger.stored_reply("a", "r2"),
            ledger.receipt,
            ledger.standing,
        ):
            with pytest.raises(LedgerError, match="damaged"):
                call()


def test_an_old_copy_with_its_old_head_put_under_an_open_ledger_is_found(path):
    with open_ledger(path) as ledger:
        fill(ledger)
        kept = ledger.rows()[7]
        with raw(path) as database:
            database.execute("DELETE FROM rows WHERE number > 8")
        ledger._chain._write_head(Receipt(8, kept.hash))
        with pytest.raises(LedgerError, match="8 rows and what this process read before says 10"):
            ledger.charge("a", "r3", ROUND, POLICY)


def test_a_forged_end_with_sound_hashes_differs_from_the_head(path):
    with open_ledger(path) as ledger:
        fill(ledger)
        last = ledger.rows()[-2]
    with raw(path) as database:
        database.execute("DELETE FROM rows WHERE number = 10")
    forger = Chain(path, path.with_name("forged.head"))
    forger.tail = Receipt(last.number, last.hash)
    forger.append({"kind": "closed/1", "run": "a"})
    forger.close()
    with pytest.raises(LedgerError, match=r"row 10 is not the one that .*head names"):
        open_ledger(path)


@pytest.mark.parametrize("suffixes", [["", "-wal"], [""], ["", "-wal", "-shm"]])
def test_an_old_copy_put_back_is_found(path, tmp_path, suffixes):
    saved = tmp_path / "saved"
    saved.mkdir()
    with open_ledger(path) as ledger:
        ledger.reserve(PLAN, POLICY)
        for suffix in suffixes:
            shutil.copy(f"{path}{suffix}", saved / f"ward.sqlite{suffix}")
        ledger.charge("a", "r1", ROUND, POLICY)
    for suffix in suffixes:
        shutil.copy(saved / f"ward.sqlite{suffix}", f"{path}{suffix}")
    with pytest.raises(LedgerError, match="damaged"):
        open_ledger(path)


@pytest.mark.parametrize("kept", [["", "-wal"], [""]])
def test_a_write_ahead_log_that_went_missing_is_found(path, tmp_path, kept):
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with open_ledger(path) as ledger:
        fill(ledger)
        for suffix in (*kept, ".head"):
            shutil.copy(f"{path}{suffix}", crashed / f"ward.sqlite{suffix}")
        rows = ledger.rows()
    if "-wal" in kept:
        with open_ledger(crashed / "ward.sqlite") as copy:
            assert copy.rows() == rows
    else:
        with pytest.raises(LedgerError, match="damaged"):
            open_ledger(crashed / "ward.sqlite")


def test_an_old_copy_with_its_old_head_is_found_by_a_receipt(path, tmp_path):
    with open_ledger(path) as ledger:
        ledger.reserve(PLAN, POLICY)
    saved = tmp_path / "saved.sqlite"
    for suffix in ("", ".head"):
        shutil.copy(f"{path}{suffix}", f"{saved}{suffix}")
    with open_ledger(path) as ledger:
        early = ledger.receipt()
        ledger.charge("a", "r1", ROUND, POLICY)
        late = ledger.receipt()
        ledger.check_receipt(early)
        ledger.check_receipt(late)
        for wrong in (replace(late, head=early.head), replace(early, count=-1)):
            with pytest.raises(LedgerError, match="receipt"):
                ledger.check_receipt(wrong)
    with open_ledger(saved) as old:
        old.check_receipt(early)
        with pytest.raises(LedgerError, match="2 rows and the server's receipt says 3"):
            old.check_receipt(late, "the server's receipt")


@pytest.mark.parametrize(
    "head",
    [
        None,
        "",
        "{}",
        "[]",
        "\xff",
        '{"format": "tacit-ledger-head/2", "count": 1, "head": ""}',
        '{"format": "tacit-ledger-head/1", "count": "many", "head": ""}',
        '{"format": "tacit-ledger-head/1", "count": 0, "head": ""}',
        '{"format": "tacit-ledger-head/1", "count": -1, "head": ""}',
        '{"format": "tacit-ledger-head/1", "count": 11, "head": ""}',
    ],
)
def test_a_head_that_is_missing_or_wrong_stops_everything(path, head):
    with open_ledger(path) as ledger:
        fill(ledger)
    place = path.with_name(path.name + ".head")
    if head is None:
        place.unlink()
    else:
        place.write_bytes(head.encode("latin-1"))
    with pytest.raises(LedgerError, match=r"head"):
        open_ledger(path)


def test_a_ledger_that_is_gone_or_no_ledger_is_not_begun_anew(path):
    with open_ledger(path) as ledger:
        fill(ledger)
    path.unlink()
    with pytest.raises(LedgerError, match=r"has 0 rows and .* says 10"):
        open_ledger(path)
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(LedgerError, match="not a database"):
        open_ledger(path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Bytes of a closed ledger, of its head, and its rows."""
    path = tmp_path_factory.mktemp("sound") / "ward.sqlite"
    with open_ledger(path) as ledger:
        fill(ledger)
        rows = ledger.rows()
    return path.read_bytes(), path.with_name(path.name + ".head").read_bytes(), rows


@settings(max_examples=150, deadline=None, derandomize=True)
@given(place=st.integers(0, 10**9), bits=st.integers(1, 255))
def test_a_changed_byte_of_the_file_is_found_or_changes_nothing(sound, place, bits):
    database, head, rows = sound
    changed = bytearray(database)
    changed[place % len(changed)] ^= bits
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ward.sqlite"
        path.write_bytes(changed)
        path.with_name(path.name + ".head").write_bytes(head)
        with suppress(TacitError), open_ledger(path) as ledger:
            assert ledger.rows() == rows
            assert ledger.stored_reply("a", "r2") == b"second"


# --- the rules hold for what is read, too ------------------------------------------------------


def write_past_the_rules(path, rows):
    """Append rows with sound hashes and a sound head that no rule was asked about."""
    chain = Chain(path, path.with_name(path.name + ".head"))
    with chain.transaction():
        for _ in chain.unread():
            pass
        for row in rows:
            chain.append(row)
            for _ in chain.unread():
                pass
    chain.close()


CHARGE = {"kind": "charged/1", "run": "a", "request": "q", "repeat": False}


@pytest.mark.parametrize(
    "row",
    [
        {"kind": "settled/1", "charge": 3, "steps_begun": 0},
        {"kind": "settled/1", "charge": 5, "steps_begun": 0},
        {"kind": "settled/1", "charge": 7, "steps_begun": 10},
        {"kind": "settled/1", "charge": 99, "steps_begun": 0},
        {"kind": "replied/1", "charge": 5, "sha256": ""},
        {"kind": "closed/1", "run": "nobody"},
        {"kind": "opened/1", "data_set": "ward 4"},
        {"kind": "reserved/1", "plan": replace(PLAN, rounds=11).to_fields()},
        {"kind": "reserved/1", "plan": {}},
        {"kind": "spent/2"},
        {},
        CHARGE | {"event": "{}"},
        CHARGE | {"event": '{"kind": "gaussian_steps/9"}'},
        CHARGE | {"repeat": True, "event": ledger_module.to_json(ROUND)},
        CHARGE | {"run": "b", "event": ledger_module.to_json(ROUND)},
        CHARGE | {"event": ledger_module.to_json(replace(ROUND, steps=11))},
    ],
)
def test_planted_a_row_that_no_rule_allows_is_not_believed(path, row):
    with open_ledger(path) as ledger:
        fill(ledger)
        ledger.charge("a", "r3", ROUND, POLICY)
    write_past_the_rules(path, [row])
    with pytest.raises(LedgerError):
        open_ledger(path)


def test_planted_a_round_too_many_is_not_believed(path, monkeypatch):
    with open_ledger(path) as ledger:
        ledger.reserve(replace(PLAN, rounds=1), POLICY)
        ledger.charge("a", "r1", ROUND, POLICY)
        with monkeypatch.context() as patch:
            patch.setattr(ledger._book.runs["a"], "rounds", 0)
            ledger.charge("a", "r2", ROUND, POLICY)
        with pytest.raises(LedgerError, match="all of its 1 rounds"):
            ledger.verify()


def test_planted_memory_that_runs_ahead_of_the_disk_is_thrown_away(ledger, monkeypatch):
    ledger.reserve(PLAN, POLICY)

    def lost(self, run, reply):
        raise sqlite3.OperationalError("disk I/O error")

    charge = ledger.charge("a", "r1", ROUND, POLICY)
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "keep_reply", lost)
        with pytest.raises(TacitError, match="disk I/O"):
            ledger.store_reply(charge, b"lost")
    assert ledger.stored_reply("a", "r1") is None
    ledger.settle(charge, 0)
    assert kinds(ledger) == ["opened", "reserved", "charged", "settled"]


# --- any sequence ----------------------------------------------------------------------------

PLANS = {
    "a": Plan("a", replace(ROUND, steps=3), 3, 4.0, 1e-5),
    "b": Plan("b", replace(ROUND, steps=2), 2, 4.0, 1e-5),
}
SEEDED_PLANS = {name: replace(plan, predictable=True) for name, plan in PLANS.items()}

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.sampled_from("ab")),
        st.tuples(
            st.just("charge"),
            st.sampled_from("aab"),
            st.sampled_from(["p", "q", "r", "s", "t"]),
            st.integers(1, 3),
        ),
        st.tuples(st.just("settle"), st.integers(0, 5), st.integers(0, 3)),
        st.tuples(st.just("reply"), st.integers(0, 5)),
        st.tuples(st.just("close"), st.sampled_from("aaab")),
        st.tuples(st.just("reopen")),
    ),
    max_size=25,
)


def net_steps(rows, predictable):
    """Add up, from the rows alone, the net steps of each run and of each of its rounds."""
    charges, net, replied = {}, {}, set()
    for row in rows:
        fields = json.loads(row.body)
        match fields["kind"]:
            case "charged/1":
                charges[row.number] = (fields["run"], fields["request"])
                net[row.number] = json.loads(fields["event"])["steps"]
            case "settled/1":
                assert fields["charge"] not in replied
                assert fields["steps_begun"] < net[fields["charge"]]
                net[fields["charge"]] = fields["steps_begun"]
            case "replied/1":
                assert net[fields["charge"]] > 0
                replied.add(fields["charge"])
    releases = {}
    for number, (run, request) in charges.items():
        key = (run, request) if predictable else (run, number)
        releases[key] = max(releases.get(key, 0), net[number])
    return {
        run: [steps for (of, _), steps in releases.items() if of == run and steps] for run in PLANS
    }


@pytest.mark.parametrize("plans", [PLANS, SEEDED_PLANS], ids=["private", "predictable"])
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(operations=OPERATIONS)
def test_no_sequence_spends_more_than_was_reserved(plans, operations):
    predictable = plans is SEEDED_PLANS
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ward.sqlite"
        ledger = open_ledger(path)
        charges = []
        for name, *arguments in [("reserve", "a"), *operations]:
            with suppress(TacitError, IndexError):
                match name:
                    case "reserve":
                        ledger.reserve(plans[arguments[0]], TEST_DATA)
                    case "charge":
                        run, request, steps = arguments
                        event = replace(ROUND, steps=steps)
                        charges.append(ledger.charge(run, request, event, TEST_DATA))
                    case "settle":
                        ledger.settle(charges[-1 - arguments[0]], arguments[1])
                    case "reply":
                        charge = charges[-1 - arguments[0]]
                        ledger.store_reply(charge, b"%d" % charge.number)
                        assert ledger.stored_reply(charge.run, charge.request) is not None
                    case "close":
                        ledger.close_run(arguments[0])
                    case "reopen":
                        ledger.close()
                        ledger = open_ledger(path)
        with ledger:
            ledger.verify()
            for run, steps in net_steps(ledger.rows(), predictable).items():
                plan = plans[run]
                assert len(steps) <= plan.rounds
                assert sum(steps) <= plan.rounds * plan.event.steps
                spent = [replace(ROUND, steps=sum(steps))] if steps else []
                assert ledger.spent_events(run) == spent
