"""Rows that cannot be changed unseen: a hash chain in SQLite whose head is kept in a second place.

Each row's hash covers its text and the hash before it, so the last hash, the head, stands for all
rows. After every commit the count of rows and the head are written to a file beside the database.
A database that goes on from that head is sound (a crash between the two leaves it one row ahead);
one that falls behind it, or differs at it, was cut, changed or restored from an old copy.

Whoever can write both files can put back an old copy of both, or remove both: a receipt that
somebody else keeps, `Chain.check_receipt`, finds that.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

from tacit.errors import LedgerError
from tacit.files import replace_file
from tacit.privacy.ledger_file import alone, connect, connect_to_read, copy, damage, explained
from tacit.unbroken import unbroken

FORMAT = b"tacit-ledger-row/1\0"
"""First bytes of what is hashed, so that no hash made elsewhere is ever one of ours."""

HEAD_FORMAT = "tacit-ledger-head/1"
PIECE: Final = 16 << 20
"""Most bytes of a reply in one row: SQLite takes a thousand million, and holds each twice."""
NO_ROWS = "0" * 64
"""Hash before the first row."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """How many rows there are and the hash of the last: enough to recognise all of them."""

    count: int
    head: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `body` is canonical JSON, `hash` covers it and every row before it."""

    number: int
    body: str
    hash: str


class Rows:
    """The rows of one file, read only inside `transaction`.

    Parameters
    ----------
    path
        The database.
    head_path
        The file that keeps the head.
    database
        A connection to it, which `close` closes.
    head
        What the head said before anything was read.

    Attributes
    ----------
    tail
        The last row that `unread` gave.
    """

    def __init__(
        self, path: Path, head_path: Path, database: sqlite3.Connection, head: Receipt | None
    ) -> None:
        self.path = path
        self.head_path = head_path
        self.tail = Receipt(0, NO_ROWS)
        self._database = database
        self._head = head

    def close(self) -> None:
        """Close the file; everything is on disk already."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Read the file as it stood when it was first read.

        Raises
        ------
        LedgerError
            The ledger was moved elsewhere.
        """
        with explained(self.path):
            self._check_place()
            yield

    def unread(self) -> Iterator[Row]:
        """Check and give the rows after `tail`, which moves along.

        Raises
        ------
        LedgerError
            A row was changed, is missing or is too many.
        """
        self.check_receipt(self.tail, "what this process read before")
        cursor = self._database.execute(
            "SELECT number, COALESCE(CAST(body AS BLOB), x''), CAST(hash AS BLOB) FROM rows "
            "WHERE number >= ? ORDER BY number",
            (self.tail.count + 1 if self.tail.count else -(2**63),),
        )
        for number, body, digest in cursor:
            expected = _hash(self.tail.head, body)
            if number != self.tail.count + 1:
                raise damage(self.path, f"row {self.tail.count + 1} is missing")
            if digest != expected.encode():
                raise damage(self.path, f"row {number} or one before it was changed")
            yield Row(number, body.decode(), expected)
            self.tail = Receipt(number, expected)

    def check_receipt(self, receipt: Receipt, keeper: str) -> None:
        """Refuse a database that does not go on from a receipt.

        Raises
        ------
        LedgerError
            It has fewer rows, or others.
        """
        last = self._last()
        if not 0 <= receipt.count <= last.count:
            raise damage(
                self.path,
                f"it has {last.count} rows and {keeper} says {receipt.count}: rows were cut off or "
                "an old copy was put back",
            )
        if self._hash_at(receipt.count) != receipt.head:
            raise damage(self.path, f"row {receipt.count} is not the one that {keeper} names")

    def check_head(self) -> None:
        """Refuse a database that does not go on from its head.

        Raises
        ------
        LedgerError
            It has fewer rows, or others, or the head is missing.
        """
        head = self._kept()
        if head is not None:
            self.check_receipt(head, str(self.head_path))
        # A crash before the first head leaves one row, which spends nothing.
        elif self._last().count > 1:
            raise damage(self.path, f"its head, {self.head_path}, is missing")

    def reply(self, run: str) -> list[bytes]:
        """Give the parts of a run's latest reply; none where none is kept."""
        rows = self._database.execute(
            "SELECT part, CAST(reply AS BLOB) FROM replies WHERE run = ? ORDER BY part, piece",
            (run,),
        )
        return [
            b"".join(piece or b"" for _, piece in pieces)
            for _, pieces in groupby(rows, itemgetter(0))
        ]

    def copy_to(self, target: Path) -> None:
        """Copy the whole file to a new one: see `tacit.privacy.ledger_file.copy`."""
        copy(self._database, target)

    def _last(self) -> Receipt:
        row = self._database.execute(
            "SELECT number, hash FROM rows ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return Receipt(0, NO_ROWS) if row is None else Receipt(*row)

    def _hash_at(self, number: int) -> str | None:
        if number == 0:
            return NO_ROWS
        row = self._database.execute("SELECT hash FROM rows WHERE number = ?", (number,)).fetchone()
        return None if row is None else str(row[0])

    def _check_place(self) -> None:
        moved = self._database.execute("SELECT place FROM moved").fetchone()
        if moved is not None:
            raise LedgerError(
                f"{self.path} was moved to {moved[0]}: nothing more is spent or read here; name "
                "the new place"
            )

    def _kept(self) -> Receipt | None:
        return self._head


class Chain(Rows):
    """The rows of one file, read and written only inside `transaction`.

    Parameters
    ----------
    path
        The database, made when it is not there.
    head_path
        The file that keeps the head.

    Raises
    ------
    ConfigurationError
        The file cannot be opened or written.
    LedgerError
        It is not a sound chain.
    RunDirectoryError
        The disk is full, or another process holds the file.
    """

    def __init__(self, path: Path, head_path: Path) -> None:
        with explained(path):
            super().__init__(path, head_path, connect(path), None)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the file alone, on a database that its head vouches for; all is kept or nothing.

        On return what was appended is on disk, and so is the head.
        """
        with unbroken(), explained(self.path):
            with self._alone():
                self._check_place()
                self.check_head()
                yield
            # Under the lock again: two processes may commit in one order and get here in another,
            # and the head must never go back.
            if self._kept() != self._last():
                with self._alone():
                    self.check_head()
                    self._write_head(self._last())

    def append(self, fields: Mapping[str, object]) -> None:
        """Write a row after `tail`, which stays: `unread` gives the row."""
        body = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
        row = Row(self.tail.count + 1, body, _hash(self.tail.head, body.encode()))
        self._database.execute("INSERT INTO rows VALUES (:number, :body, :hash)", asdict(row))

    def keep_reply(self, run: str, reply: Sequence[bytes]) -> None:
        """Keep a run's latest reply in place of the one before."""
        self.drop_reply(run)
        for number, part in enumerate(reply):
            for piece, start in enumerate(range(0, max(len(part), 1), PIECE)):
                self._database.execute(
                    "INSERT INTO replies VALUES (?, ?, ?, ?)",
                    (run, number, piece, memoryview(part)[start : start + PIECE]),
                )

    def drop_reply(self, run: str) -> None:
        """Keep no reply of a run any longer."""
        self._database.execute("DELETE FROM replies WHERE run = ?", (run,))

    def copy_to(self, target: Path) -> None:
        """Copy the whole file, as it was before this transaction, to a new one."""
        # SQLite copies from no connection that writes.
        with closing(connect_to_read(self.path)) as database:
            copy(database, target)

    def leave(self, place: Path) -> None:
        """Say where the ledger goes on; after this transaction nothing is read or written here."""
        self._database.execute("INSERT INTO moved VALUES (?)", (str(place.resolve()),))

    def _alone(self) -> AbstractContextManager[None]:
        return alone(self._database)

    def _kept(self) -> Receipt | None:
        return _read_head(self.path, self.head_path)

    def _write_head(self, head: Receipt) -> None:
        write_head(self.head_path, head)


def open_rows(path: Path, head_path: Path) -> Rows:
    """Open a file that is there to read it, beside whoever writes it.

    Raises
    ------
    ConfigurationError
        There is no such file.
    LedgerError
        What the second place keeps is no head.
    """
    # The head first: one that is read later may be ahead of the rows.
    head = _read_head(path, head_path)
    with explained(path):
        return Rows(path, head_path, connect_to_read(path), head)


def write_head(path: Path, head: Receipt) -> None:
    """Keep the count of rows and the last hash in a second place, durably."""
    text = json.dumps({"format": HEAD_FORMAT, **asdict(head)}) + "\n"
    replace_file(path, text.encode("ascii"))


def _read_head(path: Path, head_path: Path) -> Receipt | None:
    try:
        fields = json.loads(head_path.read_text(encoding="ascii"))
        if fields["format"] != HEAD_FORMAT:
            raise ValueError(f"unknown format {fields['format']!r}")
        return Receipt(int(fields["count"]), str(fields["head"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise damage(path, f"its head, {head_path}, cannot be read: {error}") from error


def _hash(previous: str, body: bytes) -> str:
    return hashlib.sha256(FORMAT + bytes.fromhex(previous) + body).hexdigest()
