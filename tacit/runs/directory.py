"""A run's directory: claimed by one process at a time, written so that a crash loses nothing."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from tacit.errors import RunDirectoryError
from tacit.files import replace_file
from tacit.runs.encoding import encode
from tacit.runs.results import Round

CONFIG: Final = "config.yaml"
HISTORY: Final = "history.jsonl"
RESULTS: Final = "results.json"
CHECKPOINT: Final = "checkpoint"
LEDGER: Final = "ledger"
COMPARE: Final = "compare"
MODEL: Final = "model.safetensors"
REPORT: Final = "report.html"
_LOCK: Final = ".lock"

LEAST_FREE_BYTES: Final = 64 * 2**20
"""Room that a run needs at the least: ledgers, checkpoint, report."""


class RunDirectory:
    """One run's directory; make it with `claim`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the composed configuration."""
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        replace_file(self.path / CONFIG, text.encode())

    def append(self, line: Round) -> None:
        """Add a line to the history and flush it."""
        with (self.path / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(encode(line), ensure_ascii=False, allow_nan=False) + "\n")

    def keep_history_through(self, last: int) -> None:
        """Drop lines of rounds after `last`, and a line that a crash cut short."""
        path = self.path / HISTORY
        if not path.exists():
            return
        kept = []
        # A crash may cut a character in two; JSON leaves U+2028 as it is, where splitlines splits.
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                if json.loads(line)["round"] <= last:
                    kept.append(line)
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
        replace_file(path, "".join(line + "\n" for line in kept).encode())


def read_config(run: Path) -> dict[str, Any]:
    """Read the configuration that a run was made with.

    Raises
    ------
    RunDirectoryError
        There is none, or it cannot be read.
    """
    path = run / CONFIG
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{path}: there is no such file: is {run} a run?") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise RunDirectoryError(f"{path}: holds no configuration")
    return found


def in_use(path: Path) -> bool:
    """Tell whether a process holds a run's directory."""
    try:
        with (path / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def claim(path: Path, *, resume: bool, needed: int = 0) -> Iterator[RunDirectory]:
    """Hold a run's directory for this process.

    Parameters
    ----------
    path
        The directory; made when it is not there.
    resume
        Whether it must hold a run, or must be empty.
    needed
        Bytes that the run will write, beside the least.

    Raises
    ------
    RunDirectoryError
        It is in use or not empty, cannot be made, or its disk is full.
    """
    if resume and not (path / CONFIG).is_file():
        raise RunDirectoryError(f"run.resume={path}: there is no run here ({CONFIG} is missing)")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("w")
    except OSError as error:
        raise RunDirectoryError(f"run.dir={path}: cannot be made or written: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunDirectoryError(
                f"run.dir={path}: another process is running in it: wait, or choose another"
            ) from error
        # What begins with a dot is the lock, or a file that a kill left half written.
        found = sorted(entry.name for entry in path.iterdir() if entry.name[0] != ".")
        if found and not resume:
            raise RunDirectoryError(
                f"run.dir={path}: is not empty (it holds {', '.join(found[:3])}): choose another, "
                f"or go on with run.resume={path}"
            )
        free = shutil.disk_usage(path).free
        if free < LEAST_FREE_BYTES + needed:
            raise RunDirectoryError(
                f"run.dir={path}: the disk has {free / 2**20:.0f} MiB left and the run needs "
                f"{(LEAST_FREE_BYTES + needed) / 2**20:.0f}: free space or choose another disk"
            )
        yield RunDirectory(path)
