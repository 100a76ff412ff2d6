"""An older ledger put in the place of the newer is found, also while it is open."""

import shutil
from dataclasses import replace

import pytest
from ledger_example import PLAN, POLICY, ROUND, fill, open_ledger, raw

from tacit.errors import LedgerError
from tacit.privacy.chain import Receipt


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
