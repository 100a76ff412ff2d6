"""The jobs of a sweep, one after another in one process: what one has loaded serves the next.

``python -m simulations.sweep_jobs REPLIES`` takes a composed configuration a line from stdin (JSON)
and, when its run has ended, writes the exit code as a line to the descriptor REPLIES. What cannot
be an exit code ends the process instead: a fault of ours, which may have left anything behind, a
stop, or a kill. Whoever gives the jobs counts that job as failed and starts another process.
"""

import json
import os
import sys
from functools import partial
from typing import Any, NoReturn

from commands import entry
from simulations.command import run_one
from simulations.kept import keeping
from tacit.errors import ExitCode

STOPS = frozenset({ExitCode.INTERRUPTED, ExitCode.TERMINATED})


def main() -> NoReturn:
    """Run jobs until there are no more."""
    replies = int(sys.argv[1])
    os.set_inheritable(replies, False)  # a process of a job's own must not keep it open
    try:
        with keeping():
            for line in sys.stdin:
                code = _run(json.loads(line))
                os.write(replies, f"{code}\n".encode())
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(ExitCode.DONE)


def _run(config: dict[str, Any]) -> int:
    """Run a job as a command of its own would."""
    try:
        entry.run(partial(run_one, config))
    except SystemExit as left:
        if left.code in STOPS:
            raise
        return int(left.code or 0)
    finally:
        # Whoever gives the jobs writes to the same screen next.
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
