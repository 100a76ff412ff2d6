"""What every command does around its work: help without imports, errors without traceback."""

import errno
import io
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
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
    """
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks ε shows '?'.
            stream.reconfigure(errors="replace")
    try:
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
        _say("error: the disk is full: free space, then go on where it stopped (run.resume=RUN)")
        return ExitCode.BAD_INPUT
    if error.errno is None or error.filename is None:
        traceback.print_exc()
        return ExitCode.FAULT
    _say(f"error: {error.filename}: {error.strerror}")
    return ExitCode.BAD_INPUT


def _say(text: str) -> None:
    print(" ".join(text.splitlines()), file=sys.stderr)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(ExitCode.TERMINATED)
