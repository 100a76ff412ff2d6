"""A reply that is larger than a row of SQLite may be: kept in pieces, given back in its parts."""

import sqlite3
from contextlib import closing

import pytest
from ledger_example import PLAN, POLICY, ROUND, open_ledger

from tacit.errors import LedgerError
from tacit.privacy import chain
from tacit.privacy.ledger_view import reply_sha256

PARTS = [b"", b"head", bytes(range(100)), b"x" * 14, b""]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(chain, "PIECE", 7)
    path = tmp_path / "ward.sqlite"
    with open_ledger(path) as ledger:
        ledger.reserve(PLAN, POLICY)
        ledger.store_reply(ledger.charge("a", "r1", ROUND, POLICY), PARTS)
    return path


def test_a_reply_in_pieces_comes_back_in_its_parts(path):
    with open_ledger(path) as ledger:
        assert ledger.stored_reply("a", "r1") == PARTS
    with closing(sqlite3.connect(path)) as database:
        lengths = [n for (n,) in database.execute("SELECT length(reply) FROM replies")]
    assert max(lengths) == 7
    assert sum(lengths) == sum(map(len, PARTS))


def test_the_next_reply_takes_the_place_of_all_pieces(path):
    with open_ledger(path) as ledger:
        ledger.store_reply(ledger.charge("a", "r2", ROUND, POLICY), [b"short"])
        assert ledger.stored_reply("a", "r2") == [b"short"]
        ledger.verify()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM replies").fetchone() == (1,)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM replies WHERE part = 2 AND piece = 14",
        "UPDATE replies SET piece = 99 WHERE part = 2 AND piece = 0",
        "UPDATE replies SET part = 2, piece = 99 WHERE part = 3 AND piece = 0",
        "INSERT INTO replies VALUES ('a', 9, 0, x'')",
        "UPDATE replies SET reply = zeroblob(7) WHERE part = 2 AND piece = 3",
    ],
)
def test_a_piece_that_is_missing_moved_or_changed_is_found(path, statement):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    with pytest.raises(LedgerError, match="not the one that was stored"):
        open_ledger(path)


def test_where_a_part_ends_counts():
    assert len({reply_sha256(r) for r in ([b"ab"], [b"a", b"b"], [b"", b"ab"], [b"ab", b""])}) == 4
