"""The rules hold for what is read, too: a row that no rule allows is not believed."""

import sqlite3
from dataclasses import replace

import pytest
from ledger_example import PLAN, POLICY, ROUND, fill, head_of, kinds, open_ledger

from tacit.errors import LedgerError, TacitError
from tacit.privacy.chain import Chain
from tacit.privacy.events import to_json

OTHER = replace(PLAN, run="other").to_fields()
SEEDED = replace(PLAN, run="other", predictable=True).to_fields()
CHARGE = {"kind": "charged/1", "run": "a", "request": "q", "repeat": False}


def write_past_the_rules(path, rows):
    """Append rows with sound hashes and a sound head that no rule was asked about."""
    chain = Chain(path, head_of(path))
    with chain.transaction():
        for _ in chain.unread():
            pass
        for row in rows:
            chain.append(row)
            for _ in chain.unread():
                pass
    chain.close()


@pytest.mark.parametrize(
    "row",
    [
        {"kind": "settled/1", "charge": 3, "steps_begun": 0},
        {"kind": "settled/1", "charge": 5, "steps_begun": 0},
        {"kind": "settled/1", "charge": 7, "steps_begun": 10},
        {"kind": "settled/1", "charge": 99, "steps_begun": 0},
        {"kind": "replied/1", "charge": 5, "sha256": ""},
        {"kind": "closed/1", "run": "nobody"},
        {"kind": "opened/2", "data_set": "ward 4"},
        {"kind": "reserved/1", "plan": replace(PLAN, rounds=11).to_fields()},
        {"kind": "reserved/1", "plan": {}},
        {"kind": "reserved/1", "plan": OTHER},
        {"kind": "reserved/1", "plan": OTHER, "filter": None},
        {"kind": "reserved/1", "plan": OTHER, "filter": {"order": 4, "lifetime_epsilon": 10.0}},
        {"kind": "reserved/1", "plan": OTHER, "filter": {"order": 1, "lifetime_epsilon": 10.0}},
        {"kind": "reserved/1", "plan": OTHER, "filter": {"order": 3, "lifetime_epsilon": 0.0}},
        {"kind": "reserved/1", "plan": SEEDED, "filter": {"order": 3, "lifetime_epsilon": 10.0}},
        {"kind": "spent/2"},
        {},
        CHARGE | {"event": "{}"},
        CHARGE | {"event": '{"kind": "gaussian_steps/9"}'},
        CHARGE | {"repeat": True, "event": to_json(ROUND)},
        CHARGE | {"run": "b", "event": to_json(ROUND)},
        CHARGE | {"event": to_json(replace(ROUND, steps=11))},
    ],
)
def test_planted_a_row_that_no_rule_allows_is_not_believed(path, row):
    with open_ledger(path) as ledger:
        fill(ledger)
        ledger.charge("a", "r3", ROUND, POLICY)
    write_past_the_rules(path, [row])
    with pytest.raises(LedgerError):
        open_ledger(path)


def test_the_order_that_the_ledger_has_is_believed(path):
    with open_ledger(path) as ledger:
        fill(ledger)
    under = {"order": 3, "lifetime_epsilon": 10.0}
    write_past_the_rules(path, [{"kind": "reserved/1", "plan": OTHER, "filter": under}])
    with open_ledger(path) as ledger:
        assert list(ledger.runs()) == ["a", "b", "other"]


def test_a_ledger_of_another_version_says_so(path):
    first = {"kind": "opened/1", "data_set": "ward 3", "unit": "record", "delta": 1e-5}
    write_past_the_rules(path, [first])
    with pytest.raises(LedgerError, match="another version of Tacit wrote this ledger"):
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
            ledger.store_reply(charge, [b"lost"])
    assert ledger.stored_reply("a", "r1") is None
    ledger.settle(charge, 0)
    assert kinds(ledger) == ["opened", "reserved", "charged", "settled"]
