"""What a site costs, from a cohort of 10 to 10,000: ``python -m benchmarks.many_sites``.

Sites with 50 images of scikit-learn's digits each train the perceptron of ``benchmarks.cohort``
with privacy: 5 steps of 10 images, one thread. Every cohort is a process of tacit-simulate in which
all sites take part in every round; its figure is CPU time per site and round, the median over
rounds after the first, as history.jsonl has it: messages, ledger, training and aggregation.

``--hundred-thousand`` runs 100,000 sites instead, a cohort of 1,000 and 20 rounds, and measures the
whole command. ``--device cuda`` trains on a GPU, where the time on the wall counts.
``--plot FILE`` draws the costs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.cohort_sides import ONE_THREAD
from benchmarks.processes import MODULES, ROOT, scratch
from benchmarks.report import print_json
from tacit.errors import TacitError
from tacit.runs.directory import HISTORY

COHORTS: Final = (10, 30, 100, 300, 1_000, 3_000, 10_000)
LOOP_COHORTS: Final = (10, 30)
"""Cohorts whose sites are trained one after another as well."""
SITE_ROUNDS: Final = 20_000
LEAST_ROUNDS, MOST_ROUNDS = 3, 40
"""Measured rounds: enough for so many sites' rounds, within these."""

MANY_SITES: Final = 100_000
MANY_COHORT: Final = 1_000
MANY_ROUNDS: Final = 20
MOST_MINUTES: Final = 2.0
MOST_GIGABYTES: Final = 2.0
"""What 100,000 sites may take."""

KIBIBYTE: Final = 1 if sys.platform == "darwin" else 1024
"""Unit of the peak memory that the operating system reports (getrusage(2))."""

WORK: Final = (
    f"--config-dir={ROOT}/benchmarks/conf",
    "domain=digits",
    "domain.partition.rows=50",
    "model=cohort",
    "model.architecture.model=mlp",
    "compare=false",
    "privacy=record",
    "engine.threads=1",
    "training.local_steps=5",
    "training.batch_size=10",
    "training.learning_rate=0.1",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One process of tacit-simulate.

    Parameters
    ----------
    engine
        How the sites were trained.
    cohort
        Sites of a round.
    milliseconds, wall_milliseconds
        CPU and wall-clock time per site and round: the medians over the rounds after the first.
    peak_bytes
        The most memory that the whole command held.
    wall_seconds, cpu_seconds
        What the whole command took.
    """

    engine: str
    cohort: int
    milliseconds: float
    wall_milliseconds: float
    peak_bytes: int
    wall_seconds: float
    cpu_seconds: float


def rounds_for(cohort: int) -> int:
    """Return how many rounds are measured of a cohort."""
    return min(MOST_ROUNDS, max(LEAST_ROUNDS, SITE_ROUNDS // cohort))


def measure(
    sites: int, cohort: int, rounds: int, engine: str = "stacked", device: str = "cpu"
) -> Measured:
    """Run tacit-simulate with privacy and read what it took.

    Raises
    ------
    TacitError
        It failed, or a site of a cohort did not take part.
    """
    with scratch() as folder:
        run = folder / "run"
        command = (
            *(sys.executable, "-m", "simulations.command", *WORK),
            f"domain.partition.sites={sites}",
            f"training.cohort={cohort}",
            f"training.rounds={rounds}",
            f"engine={engine}",
            f"engine.device={device}",
            f"run.dir={run}",
        )
        log = folder / "log"
        started = time.perf_counter()
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": MODULES},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
            try:
                _, status, used = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                raise
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise TacitError(f"tacit-simulate failed:\n{log.read_text(errors='replace')[-3000:]}")
        milliseconds, wall_milliseconds = cost_per_site(run / HISTORY, cohort)
    return Measured(
        engine=engine,
        cohort=cohort,
        milliseconds=milliseconds,
        wall_milliseconds=wall_milliseconds,
        peak_bytes=used.ru_maxrss * KIBIBYTE,
        wall_seconds=wall,
        cpu_seconds=used.ru_utime + used.ru_stime,
    )


def cost_per_site(history: Path, cohort: int) -> tuple[float, float]:
    """Read the median milliseconds per site and round, of CPU and on the wall, after the first.

    Raises
    ------
    TacitError
        A site of a cohort did not take part, or there are no such rounds.
    """
    lines = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    rounds = [line for line in lines if line["round"] > 0]
    for line in rounds:
        if len(line["replied"]) != cohort:
            raise TacitError(
                f"round {line['round']}: {len(line['replied'])} of {cohort} sites replied"
            )
    if len(rounds) < 2:
        raise TacitError(f"{history} has no round after the first")
    cpu, wall = (
        1000 * statistics.median(float(line[kind]) for line in rounds[1:]) / cohort
        for kind in ("cpu_seconds", "seconds")
    )
    return cpu, wall


def figures_of(found: Sequence[Measured]) -> dict[str, float]:
    """Name what was measured."""
    figures: dict[str, float] = {}
    for each in found:
        name = f"{each.engine}_{each.cohort}"
        figures[f"{name}_cpu_milliseconds_per_site"] = each.milliseconds
        figures[f"{name}_wall_milliseconds_per_site"] = each.wall_milliseconds
        figures[f"{name}_peak_mebibytes"] = each.peak_bytes / 2**20
    return figures


def ratios_of(found: Sequence[Measured]) -> dict[str, float]:
    """Compare what a site costs in the dearest cohort with the cheapest, and the ends."""
    stacked = {each.cohort: each.milliseconds for each in found if each.engine == "stacked"}
    if not stacked:
        return {}
    return {
        "dearest_over_cheapest_cohort": max(stacked.values()) / min(stacked.values()),
        "largest_over_smallest_cohort": stacked[max(stacked)] / stacked[min(stacked)],
    }


def main() -> None:
    """Measure, and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_sites")
    parser.add_argument("--cohorts", type=int, nargs="+", default=list(COHORTS), metavar="N")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the costs: a PNG")
    parser.add_argument(
        "--hundred-thousand", action="store_true", help="100,000 sites, and nothing else"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:1")
    asked = parser.parse_args()
    if asked.hundred_thousand:
        _hundred_thousand(asked.device)
        return

    def each_of(engine: str, cohorts: Sequence[int]) -> list[Measured]:
        return [measure(n, n, rounds_for(n) + 1, engine, asked.device) for n in cohorts]

    found = each_of("stacked", asked.cohorts)
    found += each_of("loop", [n for n in LOOP_COHORTS if n in asked.cohorts])
    table = Table(title=f"Cost of a site on {asked.device}, from a small cohort to a large one")
    headings = ("engine", "cohort", "CPU ms per site and round", "ms", "rounds", "memory, MiB")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for each in found:
        table.add_row(
            each.engine,
            f"{each.cohort:,}",
            f"{each.milliseconds:.2f}",
            f"{each.wall_milliseconds:.3f}",
            str(rounds_for(each.cohort)),
            f"{each.peak_bytes / 2**20:,.0f}",
        )
    Console().print(table)
    if asked.plot is not None:
        from benchmarks.many_sites_plot import draw

        asked.plot.parent.mkdir(parents=True, exist_ok=True)
        draw(found, asked.plot)
    print_json("many_sites", figures_of(found), ratios_of(found))


def _hundred_thousand(device: str) -> None:
    found = measure(MANY_SITES, MANY_COHORT, MANY_ROUNDS, device=device)
    minutes, gigabytes = found.wall_seconds / 60, found.peak_bytes / 1e9
    table = Table(title=f"{MANY_SITES:,} sites, cohort {MANY_COHORT:,}, {MANY_ROUNDS} rounds")
    for heading in ("whole command", "measured", "at most"):
        table.add_column(heading, justify="left" if heading == "whole command" else "right")
    table.add_row("wall-clock seconds", f"{found.wall_seconds:.0f}", f"{60 * MOST_MINUTES:.0f}")
    table.add_row("CPU seconds", f"{found.cpu_seconds:.0f}", "")
    table.add_row("peak memory, GB", f"{gigabytes:.2f}", f"{MOST_GIGABYTES:.2f}")
    Console().print(table)
    print_json(
        "many_sites_hundred_thousand",
        {
            "wall_seconds": found.wall_seconds,
            "cpu_seconds": found.cpu_seconds,
            "peak_gigabytes": gigabytes,
            "cpu_milliseconds_per_site": found.milliseconds,
        },
        {
            "minutes_over_most": minutes / MOST_MINUTES,
            "gigabytes_over_most": gigabytes / MOST_GIGABYTES,
        },
    )


if __name__ == "__main__":
    main()
