"""How a run is called off: another process of the coordinator's machine asks for it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from tacit.errors import ExitCode, RunDirectoryError, TacitError
from tacit.runs.directory import in_use

PROCESS: Final = "server.pid"
"""File of a run directory, while a coordinator's process works in it."""
CALLED_OFF: Final = "called_off"
"""File of a run directory: the run was called off, and nothing goes on with it."""


class CalledOffError(TacitError):
    """Somebody called the run off."""

    exit_code = ExitCode.INCOMPLETE


def call_off(path: Path) -> None:
    """Have the coordinator's process that works in a run directory call its run off.

    Raises
    ------
    RunDirectoryError
        None does.
    """
    try:
        # One that was killed left its number, which may be another process's by now.
        if not in_use(path):
            raise ProcessLookupError
        number = int((path / PROCESS).read_text())
        os.kill(number, signal.SIGUSR1)
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"run.dir={path}: no coordinator works there") from error


@contextmanager
def findable(path: Path) -> Iterator[None]:
    """Let `call_off` find this process, and hear it; for a process's main thread."""

    def raise_called_off(number: int, frame: FrameType | None) -> None:
        raise CalledOffError("the run was called off")

    before = signal.signal(signal.SIGUSR1, raise_called_off)
    (path / PROCESS).write_text(str(os.getpid()))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
        with suppress(FileNotFoundError):
            (path / PROCESS).unlink()
