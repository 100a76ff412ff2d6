"""tacit-simulate as it is, with a clock: ``python -m benchmarks.cohort_clock WORDS...``.

Its last line is a JSON list of the CPU seconds of each round after the first, of the whole process
and all its threads, from one checkpoint to the next: messages, ledgers, training, aggregation,
history and checkpoint. What is left out is the evaluation on held-out rows, which the others do
not do here either.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from server.checkpoint import save_checkpoint
from simulations import command
from simulations.experiment import measure_weights


class Clock:
    """CPU time of this process at the end of each round, without what was left out."""

    def __init__(self) -> None:
        self.marks: list[float] = []
        self._left_out = 0.0

    def leaving_out(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same work, whose time does not count."""

        def done(*values: Any) -> Any:
            started = time.process_time()
            found = work(*values)
            self._left_out += time.process_time() - started
            return found

        return done

    def marking(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same work, at whose end a round ends."""

        def done(*values: Any) -> Any:
            found = work(*values)
            self.marks.append(time.process_time() - self._left_out)
            return found

        return done

    def seconds(self) -> list[float]:
        """Return what each round took but the first, which also opens what there is to open."""
        ends = self.marks[1:]  # the first checkpoint is the start
        return [after - before for before, after in pairwise(ends)]


def main() -> None:
    """Run the command and print what its rounds took."""
    clock = Clock()
    with (
        patch("simulations.simulate.measure_weights", clock.leaving_out(measure_weights)),
        patch("simulations.simulate.save_checkpoint", clock.marking(save_checkpoint)),
    ):
        # Not main(): it leaves the process.
        code = command._main(sys.argv[1:])
    print(json.dumps(clock.seconds()))
    sys.exit(code)


if __name__ == "__main__":
    main()
