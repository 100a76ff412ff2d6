"""What every command does around its work: help without imports, errors without traceback."""

import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from tacit.errors import ExitCode, TacitError


class Terminated(SystemExit):
    """SIGTERM came: leave as after Ctrl-C, with an exit code of its own."""


def run(main: Callable[[], int]) -> NoReturn:
    """Run a command and leave with its exit code.

    What Tacit raises on purpose becomes one line on stderr and the exit code of its class; Ctrl-C
    becomes 130 and SIGTERM 143. Anything else is a fault of ours and keeps its traceback.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = main()
    except TacitError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = ExitCode.INTERRUPTED
    except Terminated:
        print("terminated", file=sys.stderr)
        code = ExitCode.TERMINATED
    except OSError as error:
        if error.errno is None or error.filename is None:
            traceback.print_exc()
            code = ExitCode.FAULT
        else:
            print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
            code = ExitCode.BAD_INPUT
    sys.exit(int(code))


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(ExitCode.TERMINATED)
