"""The SQLite file of a ledger: opened, held alone, copied, and what its faults mean."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

from tacit.errors import ConfigurationError, LedgerError, RunDirectoryError

BUSY_SECONDS = 60.0

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS rows (
  number INTEGER PRIMARY KEY, body TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replies (
  run TEXT, part INTEGER, piece INTEGER, reply BLOB NOT NULL, PRIMARY KEY (run, part, piece));
CREATE TABLE IF NOT EXISTS moved (place TEXT NOT NULL);
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


def connect(path: Path) -> sqlite3.Connection:
    """Open a file to write it, or make it."""
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        _write_ahead(database)
        # In WAL mode only FULL makes a commit outlive a power cut (sqlite.org/pragma.html);
        # fullfsync is what fsync means elsewhere, on macOS.
        database.execute("PRAGMA synchronous=FULL")
        database.execute("PRAGMA fullfsync=ON")
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a file that is there, as it stands now, beside whoever writes it; nothing is written.

    Without a log beside it nobody writes, and SQLite would make one: it might belong to another
    user than the site's, and lock the site out.

    Raises
    ------
    ConfigurationError
        There is no such file.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path} is not there: there is no ledger to read")
    log = path.with_name(path.name + "-wal")
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    database = sqlite3.connect(
        f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    try:
        # One snapshot for as long as it is open.
        database.execute("BEGIN")
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def alone(database: sqlite3.Connection) -> Iterator[None]:
    """Hold a file alone; what was written is kept whole or not at all."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def create(path: Path) -> int:
    """Make a new file for its owner's eyes only and return its descriptor.

    Raises
    ------
    ConfigurationError
        There is such a file, or no such folder.
    """
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path} is there already, and nothing is written over: name another file"
        ) from error
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path} has no folder: make {path.parent}") from error


def copy(source: sqlite3.Connection, target: Path) -> None:
    """Copy all that a connection sees to a new file, durably and for its owner's eyes only.

    Raises
    ------
    ConfigurationError
        There is such a file, or no such folder.
    RunDirectoryError
        The disk is full.
    """
    file = create(target)
    try:
        with explained(target), closing(sqlite3.connect(target)) as database:
            source.backup(database)
            # One file that says all, without a log beside it.
            database.execute("PRAGMA journal_mode=DELETE")
        _sync(file, target.parent)
    except BaseException:
        target.unlink()
        raise
    finally:
        os.close(file)


def _sync(file: int, folder: Path) -> None:
    try:
        os.fsync(file)
        entries = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entries)
        finally:
            os.close(entries)
    except OSError as error:
        raise RunDirectoryError(f"a copy in {folder} cannot be kept: {error}") from error


def damage(path: Path, what: str) -> LedgerError:
    """Say that nothing may be spent from a file, and why."""
    return LedgerError(
        f"{path} is damaged: {what}. Nothing may be spent from it: put back the newest copy, or "
        "let the data's officer decide"
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk say into what a person can do."""
    try:
        yield
    except sqlite3.Error as error:
        _explain(path, error)
    except UnicodeDecodeError as error:
        # SQLite's own text (a table's definition, say) may be what was changed.
        raise damage(path, f"it holds text that cannot be read: {error.reason}") from error
    except OSError as error:
        raise RunDirectoryError(
            f"{path}: its head cannot be kept: {error}; a charge that was written stays"
        ) from error


def _explain(path: Path, error: sqlite3.Error) -> NoReturn:
    # The low byte is the primary code (sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        raise RunDirectoryError(f"{path} cannot be written: {error}: free space") from error
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise RunDirectoryError(
            f"{path} was in use by another process for {BUSY_SECONDS:g} s: stop that one"
        ) from error
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        raise ConfigurationError(
            f"{path} cannot be opened and written: {error}: does its directory exist?"
        ) from error
    raise damage(path, str(error)) from error


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, which lets readers in beside a writer."""
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        # Where two make the file at once, SQLite fails one switch without waiting, to avoid a
        # deadlock. This waits for the other, as long as any lock.
        with alone(database):
            pass
