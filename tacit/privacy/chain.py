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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from tacit.errors import ConfigurationError, LedgerError, RunDirectoryError
from tacit.files import replace_file

FORMAT = b"tacit-ledger-row/1\0"
"""First bytes of what is hashed, so that no hash made elsewhere is ever one of ours."""

HEAD_FORMAT = "tacit-ledger-head/1"
BUSY_SECONDS = 60.0
NO_ROWS = "0" * 64
"""Hash before the first row."""

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS rows (
  number INTEGER PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replies (run TEXT PRIMARY KEY, reply BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS rows_never_change BEFORE UPDATE ON rows
  BEGIN SELECT RAISE(ABORT, 'rows of a ledger never change'); END;
CREATE TRIGGER IF NOT EXISTS rows_never_go BEFORE DELETE ON rows
  BEGIN SELECT RAISE(ABORT, 'rows of a ledger never go'); END;
-- INSERT OR REPLACE deletes without asking the trigger above.
CREATE TRIGGER IF NOT EXISTS rows_only_follow BEFORE INSERT ON rows
  WHEN NEW.number IS NOT (SELECT COALESCE(MAX(number), 0) + 1 FROM rows)
  BEGIN SELECT RAISE(ABORT, 'rows of a ledger follow one another'); END;
COMMIT;
"""


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


class Chain:
    """The rows of one file, read and written only inside `transaction`.

    Parameters
    ----------
    path
        The database, made when it is not there.
    head_path
        The file that keeps the head.

    Attributes
    ----------
    tail
        The last row that `unread` gave.

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
        self.path = path
        self.tail = Receipt(0, NO_ROWS)
        self._head_path = head_path
        with self._faults():
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                self._write_ahead()
                # In WAL mode only FULL makes a commit outlive a power cut (sqlite.org/pragma.html);
                # fullfsync is what fsync means elsewhere, on macOS.
                self._database.execute("PRAGMA synchronous=FULL")
                self._database.execute("PRAGMA fullfsync=ON")
                self._database.executescript(_SCHEMA)
            except BaseException:
                self._database.close()
                raise

    def close(self) -> None:
        """Close the file; everything is on disk already."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the file alone, on a database that its head vouches for; all is kept or nothing.

        On return what was appended is on disk, and so is the head.
        """
        with self._faults():
            with self._alone():
                self._check_head()
                yield
            # Under the lock again: two processes may commit in one order and get here in another,
            # and the head must never go back.
            if self._read_head() != self._last():
                with self._alone():
                    self._check_head()
                    self._write_head(self._last())

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
                raise self._damage(f"row {self.tail.count + 1} is missing")
            if digest != expected.encode():
                raise self._damage(f"row {number} or one before it was changed")
            yield Row(number, body.decode(), expected)
            self.tail = Receipt(number, expected)

    def append(self, fields: Mapping[str, object]) -> None:
        """Write a row after `tail`, which stays: `unread` gives the row."""
        body = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
        row = Row(self.tail.count + 1, body, _hash(self.tail.head, body.encode()))
        self._database.execute("INSERT INTO rows VALUES (:number, :body, :hash)", asdict(row))

    def check_receipt(self, receipt: Receipt, keeper: str) -> None:
        """Refuse a database that does not go on from a receipt.

        Raises
        ------
        LedgerError
            It has fewer rows, or others.
        """
        last = self._last()
        if not 0 <= receipt.count <= last.count:
            raise self._damage(
                f"it has {last.count} rows and {keeper} says {receipt.count}: rows were cut off or "
                "an old copy was put back"
            )
        if self._hash_at(receipt.count) != receipt.head:
            raise self._damage(f"row {receipt.count} is not the one that {keeper} names")

    def keep_reply(self, run: str, reply: bytes) -> None:
        """Keep a run's latest reply in place of the one before."""
        self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (run, reply))

    def drop_reply(self, run: str) -> None:
        """Keep no reply of a run any longer."""
        self._database.execute("DELETE FROM replies WHERE run = ?", (run,))

    def reply(self, run: str) -> bytes | None:
        """Give a run's latest reply."""
        row = self._database.execute(
            "SELECT CAST(reply AS BLOB) FROM replies WHERE run = ?", (run,)
        ).fetchone()
        return None if row is None or row[0] is None else bytes(row[0])

    def _write_ahead(self) -> None:
        """Switch to write-ahead logging, which lets readers in beside a writer."""
        while True:
            try:
                self._database.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            # Where two make the file at once, SQLite fails one switch without waiting, to avoid a
            # deadlock. This waits for the other, as long as any lock.
            with self._alone():
                pass

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

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

    def _check_head(self) -> None:
        head = self._read_head()
        if head is not None:
            self.check_receipt(head, str(self._head_path))
        # A crash before the first head leaves one row, which spends nothing.
        elif self._last().count > 1:
            raise self._damage(f"its head, {self._head_path}, is missing")

    def _read_head(self) -> Receipt | None:
        try:
            text = self._head_path.read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise self._damage(f"its head, {self._head_path}, cannot be read: {error}") from error
        try:
            fields = json.loads(text)
            if fields["format"] != HEAD_FORMAT:
                raise ValueError(f"unknown format {fields['format']!r}")
            return Receipt(int(fields["count"]), str(fields["head"]))
        except (ValueError, KeyError, TypeError) as error:
            raise self._damage(f"its head, {self._head_path}, cannot be read: {error}") from error

    def _write_head(self, head: Receipt) -> None:
        text = json.dumps({"format": HEAD_FORMAT, **asdict(head)}) + "\n"
        replace_file(self._head_path, text.encode("ascii"))

    def _damage(self, what: str) -> LedgerError:
        return LedgerError(
            f"{self.path} is damaged: {what}. Nothing may be spent from it: put back the newest "
            "copy, or let the data's officer decide"
        )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._explain(error)
        except UnicodeDecodeError as error:
            # SQLite's own text (a table's definition, say) may be what was changed.
            raise self._damage(f"it holds text that cannot be read: {error.reason}") from error
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path}: its head cannot be kept: {error}; a charge that was written stays"
            ) from error

    def _explain(self, error: sqlite3.Error) -> NoReturn:
        # The low byte is the primary code (sqlite.org/rescode.html).
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise RunDirectoryError(
                f"{self.path} cannot be written: {error}: free space"
            ) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise RunDirectoryError(
                f"{self.path} was in use by another process for {BUSY_SECONDS:g} s: stop that one"
            ) from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            raise ConfigurationError(
                f"{self.path} cannot be opened and written: {error}: does its directory exist?"
            ) from error
        raise self._damage(str(error)) from error


def _hash(previous: str, body: bytes) -> str:
    return hashlib.sha256(FORMAT + bytes.fromhex(previous) + body).hexdigest()
