"""Reading a ledger beside its writer: the same numbers, no waiting, and nothing written."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from ledger_example import PLAN, POLICY, ROUND, fill, head_of, open_ledger, raw

from tacit.errors import ConfigurationError, LedgerError
from tacit.privacy import ledger_file
from tacit.privacy.ledger_view import read_ledger


def everything(path):
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}


def look(path):
    with read_ledger(path) as view:
        view.check_head()
        view.verify()


def test_a_view_says_what_the_ledger_says(ledger, path):
    fill(ledger)
    with read_ledger(path) as view:
        view.verify()
        view.check_head()
        assert view.rows() == ledger.rows()
        assert view.standing() == ledger.standing()
        assert view.receipt() == ledger.receipt()
        assert view.spent_events("a") == ledger.spent_events("a")
        assert (view.data_set, view.unit, view.relation, view.delta) == (
            ledger.data_set,
            ledger.unit,
            ledger.relation,
            ledger.delta,
        )


def test_reading_waits_for_no_writer_and_sees_one_moment(ledger, path, monkeypatch):
    fill(ledger)
    monkeypatch.setattr(ledger_file, "BUSY_SECONDS", 0.0)
    with ledger._chain.transaction(), read_ledger(path) as view:
        view.check_head()
        assert view.receipt().count == 10
    with read_ledger(path) as view:
        ledger.charge("a", "r3", ROUND, POLICY)
        view.verify()
        view.check_head()
        assert view.receipt().count == 10
    with read_ledger(path) as view:
        assert view.receipt().count == 11


def test_reading_writes_nothing_beside_an_open_ledger(ledger, path):
    fill(ledger)
    shm = f"{path.name}-shm"
    before = everything(path.parent)
    with read_ledger(path) as view:
        view.verify()
        view.standing()
    after = everything(path.parent)
    # The index that SQLite shares in memory holds the marks of readers.
    assert {name: file for name, file in after.items() if name != shm} == {
        name: file for name, file in before.items() if name != shm
    }


def test_reading_writes_nothing_beside_a_closed_ledger(path):
    with open_ledger(path) as ledger:
        fill(ledger)
    before = everything(path.parent)
    assert set(before) == {path.name, head_of(path).name}
    with read_ledger(path) as view:
        view.verify()
        assert everything(path.parent) == before
    assert everything(path.parent) == before


def test_what_a_crash_left_in_the_log_is_read_too(path, tmp_path):
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with open_ledger(path) as ledger:
        fill(ledger)
        for suffix in ("", "-wal", "-shm", ".head"):
            shutil.copy(f"{path}{suffix}", crashed)
    with read_ledger(crashed / path.name) as view:
        view.check_head()
        assert view.receipt().count == 10


def test_a_head_that_moves_on_while_rows_are_read_is_no_alarm(ledger, path, monkeypatch):
    fill(ledger)
    honest = ledger_file.connect_to_read

    def slow(place):
        database = honest(place)
        database.execute("SELECT * FROM rows").fetchone()
        ledger.charge("a", "r3", ROUND, POLICY)
        return database

    monkeypatch.setattr("tacit.privacy.chain.connect_to_read", slow)
    with read_ledger(path) as view:
        view.check_head()
        assert view.receipt().count == 10


def test_a_view_finds_what_was_done_to_the_rows(path):
    with open_ledger(path) as ledger:
        fill(ledger)
    sound = path.read_bytes()
    for statement, said in (
        ("UPDATE rows SET body = '{}' WHERE number = 4", "row 4 or one before it was changed"),
        ("DELETE FROM rows WHERE number = 4", "row 4 is missing"),
        ("DELETE FROM rows WHERE number > 8", "it has 8 rows and .*head says 10"),
        ("DELETE FROM rows", "it has 0 rows and .*head says 10"),
        ("UPDATE replies SET reply = x'00'", "the reply kept for run 'a'"),
        ("DROP TABLE rows", "no such table"),
    ):
        path.write_bytes(sound)
        with raw(path) as database:
            database.execute(statement)
        with pytest.raises(LedgerError, match=said):
            look(path)


def test_a_file_that_is_no_ledger_is_named(path):
    with pytest.raises(ConfigurationError, match="there is no ledger to read"):
        read_ledger(path)
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(LedgerError, match="not a database"):
        read_ledger(path)
    path.unlink()
    open_ledger(path).close()
    with raw(path) as database:
        database.execute("DELETE FROM rows")
    head_of(path).unlink()
    with pytest.raises(LedgerError, match="no rows"):
        read_ledger(path)


def test_a_head_that_is_missing_is_said_and_the_rows_are_read(path):
    with open_ledger(path) as ledger:
        fill(ledger)
    head_of(path).unlink()
    with read_ledger(path) as view:
        view.verify()
        with pytest.raises(LedgerError, match="missing"):
            view.check_head()


# --- copies ------------------------------------------------------------------------------------


def test_a_backup_of_a_ledger_in_use_is_whole_and_its_owners_alone(ledger, path, tmp_path):
    fill(ledger)
    copy = tmp_path / "copy.sqlite"
    with read_ledger(path) as view:
        ledger.charge("a", "r3", ROUND, POLICY)
        view.backup(copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("copy")] == [copy.name]
    with read_ledger(copy) as saved:
        saved.verify()
        assert saved.rows() == ledger.rows()[:10]
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT reply FROM replies").fetchall() == [(b"second",)]


def test_a_copy_never_replaces_a_file(ledger, path, tmp_path):
    kept = tmp_path / "kept"
    kept.write_bytes(b"kept")
    with read_ledger(path) as view:
        with pytest.raises(ConfigurationError, match="there already"):
            view.backup(kept)
        with pytest.raises(ConfigurationError, match="no folder"):
            view.backup(tmp_path / "nowhere" / "copy")
    with pytest.raises(ConfigurationError, match="there already"):
        ledger.move(kept)
    assert kept.read_bytes() == b"kept"
    ledger.reserve(PLAN, POLICY)


def test_a_backup_put_back_is_an_old_copy_once_anything_was_charged(path, tmp_path):
    copy = tmp_path / "copy.sqlite"
    with open_ledger(path) as ledger:
        ledger.reserve(PLAN, POLICY)
        ledger.backup(copy)
    with open_ledger(copy, head_path=head_of(path)):
        pass
    with open_ledger(path) as ledger:
        ledger.charge("a", "r1", ROUND, POLICY)
    with pytest.raises(LedgerError, match=r"2 rows and .* says 3"):
        open_ledger(copy, head_path=head_of(path))
    shutil.copy(copy, path)
    with pytest.raises(LedgerError, match="an old copy was put back"):
        open_ledger(path)


def test_planted_a_copy_that_differs_is_not_kept(ledger, path, tmp_path, monkeypatch):
    ledger.reserve(PLAN, POLICY)
    ledger.charge("a", "r1", ROUND, POLICY)
    honest = ledger_file.copy

    def bad(source, target):
        honest(source, target)
        with raw(target) as database:
            database.execute("DELETE FROM rows WHERE number > 2")

    monkeypatch.setattr("tacit.privacy.chain.copy", bad)
    copy = tmp_path / "copy.sqlite"
    with read_ledger(path) as view, pytest.raises(LedgerError, match="not what it was copied from"):
        view.backup(copy)
    with pytest.raises(LedgerError, match="not what it was copied from"):
        ledger.move(copy)
    assert not copy.exists()
    ledger.charge("a", "r3", ROUND, POLICY)


# --- moving ------------------------------------------------------------------------------------


def test_a_moved_ledger_goes_on_in_the_new_file_and_nowhere_else(path, tmp_path):
    target = tmp_path / "elsewhere" / "ward.sqlite"
    target.parent.mkdir()
    head = tmp_path / "second place"
    with open_ledger(path, head_path=head) as running, open_ledger(path, head_path=head) as ledger:
        fill(ledger)
        running.charge("a", "r3", ROUND, POLICY)
        ledger.move(target)
        for call in (
            lambda: running.charge("a", "r4", ROUND, POLICY),
            running.receipt,
            ledger.verify,
        ):
            with pytest.raises(LedgerError, match=f"was moved to {target}"):
                call()
    for opened in (open_ledger, read_ledger):
        with pytest.raises(LedgerError, match=f"was moved to {target}"):
            opened(path, head_path=head)
    with open_ledger(target, head_path=head) as moved:
        assert moved.receipt().count == 11
        assert moved.stored_reply("a", "r2") == [b"second"]
        moved.charge("a", "r4", ROUND, POLICY)
    assert json.loads(head.read_text())["count"] == 12


def test_a_head_that_moves_too_is_there_before_the_old_file_refuses(path, tmp_path):
    target = tmp_path / "moved.sqlite"
    with open_ledger(path) as ledger:
        fill(ledger)
        ledger.move(target, head_of(target))
    with open_ledger(target) as moved:
        moved.charge("a", "r3", ROUND, POLICY)


def test_a_crash_before_the_old_file_refuses_leaves_it_the_ledger(path, tmp_path, monkeypatch):
    target = tmp_path / "moved.sqlite"

    def crash(chain, place):
        raise KeyboardInterrupt

    with open_ledger(path) as ledger:
        fill(ledger)
        with monkeypatch.context() as patch:
            patch.setattr("tacit.privacy.chain.Chain.leave", crash)
            with pytest.raises(KeyboardInterrupt):
                ledger.move(target)
        ledger.charge("a", "r3", ROUND, POLICY)
        with pytest.raises(LedgerError, match="an old copy"):
            open_ledger(target, head_path=head_of(path))
        target.unlink()
        ledger.move(target)
    with open_ledger(target, head_path=head_of(path)) as moved:
        assert moved.receipt().count == 11


def test_planted_without_the_note_the_head_still_lets_only_one_go_on(path, tmp_path, monkeypatch):
    target = tmp_path / "moved.sqlite"
    monkeypatch.setattr("tacit.privacy.chain.Chain.leave", lambda chain, place: None)
    with open_ledger(path) as ledger:
        fill(ledger)
        ledger.move(target)
        with open_ledger(target, head_path=head_of(path)) as moved:
            moved.charge("a", "r3", ROUND, POLICY)
        with pytest.raises(LedgerError, match="an old copy"):
            ledger.charge("a", "r3", ROUND, POLICY)
