"""Memory of a coordinator and its sites over 300 rounds: ``python -m benchmarks.soak_memory``.

What is read is the resident set (VmRSS of /proc), the median over five rounds up to the 50th and up
to the 300th. Once with a head of 1,000 parameters and once with 1,000,000, as in
`benchmarks.deployed_round`. Ends with exit code 1 if anything grew by more than 5 %.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.deployed_round import SITES, SIZES, words
from benchmarks.invariants import rounds
from benchmarks.processes import Deployment, scratch, stopped
from benchmarks.report import print_json
from tacit.errors import TacitError

NAMES: Final = ("server", *SITES)
FIRST: Final = 50
ALLOWED: Final = 0.05
OVER: Final = 5
"""Rounds over which the median is taken."""
MARGIN: Final = 20
"""Rounds after the last that is measured: by then no process is to end."""
LONG: Final = 3600.0


def measure(size: str, last: int) -> dict[str, tuple[float, float]]:
    """Return MiB of each process at round 50 and at the last."""
    with scratch() as folder:
        running = Deployment(folder, SITES, experiment=words(size, last + MARGIN))
        with stopped(running):
            for site in SITES:
                running.edit(site, limits={"least_noise_multiplier": 0.0, "most_rounds": None})
            running.start_server()
            for site in SITES:
                running.start_site(site)
            seen = _watch(running, last)
            if running.end_of("server", LONG):
                raise TacitError(f"it did not come to its end:\n{running.logs()}")
    return {name: (_at(seen[name], FIRST), _at(seen[name], last)) for name in NAMES}


def _watch(running: Deployment, last: int) -> dict[str, dict[int, float]]:
    """Read the memory of every process at each round that is seen, up to the last."""
    seen: dict[str, dict[int, float]] = defaultdict(dict)

    def over() -> bool:
        done = len(rounds(running.run_dir))
        for name in NAMES if done > FIRST - OVER else ():
            seen[name][done] = resident(running.pid(name))
        return done >= last

    running.wait_for(over, *NAMES, patience=LONG)
    return seen


def _at(seen: dict[int, float], last: int) -> float:
    return statistics.median(mib for done, mib in seen.items() if last - OVER < done <= last)


def resident(pid: int) -> float:
    """Return the resident set of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024
    raise TacitError(f"process {pid} has no VmRSS: it has ended, or this is not Linux")


def main() -> None:
    """Print memory at round 50 and at the last, and fail if it grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--sizes", nargs="+", choices=sorted(SIZES), default=sorted(SIZES))
    asked = parser.parse_args()
    table = Table(title="resident set in MiB")
    table.add_column("parameters")
    table.add_column("process")
    for heading in (f"round {FIRST}", f"round {asked.rounds}", "growth"):
        table.add_column(heading, justify="right")
    figures: dict[str, float] = {}
    growths: dict[str, float] = {}
    for size in asked.sizes:
        for name, (early, late) in measure(size, asked.rounds).items():
            growths[f"{name}_growth_{size}"] = late / early - 1
            figures |= {f"{name}_mib_{FIRST}_{size}": early, f"{name}_mib_last_{size}": late}
            table.add_row(size, name, f"{early:.1f}", f"{late:.1f}", f"{late / early - 1:+.1%}")
    Console().print(table)
    print_json("soak_memory", figures, growths)
    sys.exit(1 if max(growths.values()) > ALLOWED else 0)


if __name__ == "__main__":
    main()
