"""What every command does around its work: help without imports, errors without traceback."""

import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from tacit import __version__
from tacit.errors import ExitCode, TacitError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Terminated(SystemExit):
    """SIGTERM came: leave as after Ctrl-C, with an exit code of its own."""


def answered(words: Sequence[str], usage: str) -> bool:
    """Answer --help or --version; return whether one was asked for."""
    if "-h" in words or "--help" in words:
        print(usage, end="")
    elif "--version" in words:
        print(f"tacit {__version__}")
    else:
        return False
    return True


def run(main: Callable[[], int]) -> NoReturn:
    """Run a command and leave with its exit code.

    What Tacit raises on purpose becomes one line on stderr and the exit code of its class; Ctrl-C
    becomes 130 and SIGTERM 143. Anything else is a fault of ours and keeps its traceback.

    The first of these signals leaves by way of every clean-up. After it Ctrl-C ends the process at
    once, also while it shuts down; SIGTERM changes nothing more, as some supervisors send it twice,
    or after the terminal's Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _terminate)
    # In the background of a shell Ctrl-C is none of ours, and stays ignored.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks ε shows '?'.
            stream.reconfigure(errors="replace")
    try:
        with _watching():
            code = main()
    except TacitError as error:
        _say(f"error: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        code = ExitCode.INTERRUPTED
    except Terminated:
        _say("terminated")
        code = ExitCode.TERMINATED
    except OSError as error:
        code = _explain(error)
    sys.exit(int(code))


def _explain(error: OSError) -> ExitCode:
    if error.errno in _FULL:
        _say(
            "error: the disk is full: free space, then give the same command again (a simulation "
            "goes on with run.resume=RUN)"
        )
        return ExitCode.BAD_INPUT
    if error.errno is None or error.filename is None:
        traceback.print_exc()
        return ExitCode.FAULT
    _say(f"error: {error.filename}: {error.strerror}")
    return ExitCode.BAD_INPUT


def _say(text: str) -> None:
    print(" ".join(text.splitlines()), file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _leaving()
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    _leaving()
    raise Terminated(ExitCode.TERMINATED)


def _leaving() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(ExitCode.INTERRUPTED)


@contextmanager
def _watching() -> Iterator[None]:
    """End at the second Ctrl-C also where no handler runs: within a long call into C.

    Python calls handlers between two steps of the main thread, and counts two signals that came
    within one step as one. What it writes to a wake-up descriptor it writes at once.

    A signal that ends the command leaves the watcher on, until the next command in this process: a
    shutdown that waits for a thread is such a call too.
    """
    if _left_on:
        _left_on.pop()()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), name="ctrl-c", daemon=True).start()

    def stop() -> None:
        signal.set_wakeup_fd(before)
        os.close(writing)

    try:
        yield
    except (KeyboardInterrupt, Terminated):
        _left_on.append(stop)
        raise
    except BaseException:
        stop()
        raise
    else:
        stop()


_left_on: list[Callable[[], None]] = []
"""Stops the watcher of a command that a signal ended."""


def _watch(reading: int) -> None:
    # A signal that this thread took would not wake the main thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    leaving = False
    with open(reading, "rb", buffering=0) as numbers:
        while some := numbers.read(64):
            for number in some:
                if leaving and number == signal.SIGINT:
                    _end(number, None)
                leaving = leaving or number in (signal.SIGINT, signal.SIGTERM)
