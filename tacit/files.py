"""Files and folders that are complete or absent, whatever happens in between."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tacit.errors import InputError


def replace_file(path: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file durably so that a crash leaves the old content or the new, never a part.

    Parameters
    ----------
    path
        The file.
    content
        All of it, or its parts one after another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which gets its name once everything in it is on disk.

    Whatever fails before leaves nothing. All may read what is in it.

    Parameters
    ----------
    folder
        Its name: of nothing, or of an empty folder.

    Raises
    ------
    InputError
        Nothing can be written there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        yield partial
        partial.chmod(0o755)
        for path in partial.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
            _sync(path)
        _sync(partial)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
