"""Whatever is changed, cut or added in the file of a ledger is found."""

import hashlib
import json
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_example import fill, head_of, open_ledger, raw

from tacit.errors import LedgerError, TacitError
from tacit.privacy.chain import Chain, Receipt


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
    head = json.loads(head_of(path).read_text())
    assert head == {"format": "tacit-ledger-head/1", "count": 10, "head": digest.hex()}
    assert ledger.receipt() == Receipt(10, digest.hex())


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
    place = head_of(path)
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
    return path.read_bytes(), head_of(path).read_bytes(), rows


@settings(max_examples=150, deadline=None, derandomize=True)
@given(place=st.integers(0, 10**9), bits=st.integers(1, 255))
def test_a_changed_byte_of_the_file_is_found_or_changes_nothing(sound, place, bits):
    database, head, rows = sound
    changed = bytearray(database)
    changed[place % len(changed)] ^= bits
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ward.sqlite"
        path.write_bytes(changed)
        head_of(path).write_bytes(head)
        with suppress(TacitError), open_ledger(path) as ledger:
            assert ledger.rows() == rows
            assert ledger.stored_reply("a", "r2") == [b"second"]
