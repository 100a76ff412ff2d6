"""At least 100,000 odd inputs to every decoder together: ``python -m benchmarks.soak_decoders``.

Each decoder of what comes from outside gets its share of inputs from a seed that is printed. A
finding is an error that the decoder does not declare, or an input that takes much memory or time;
its number with the seed makes it again.
"""

import argparse
import logging
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.decoders import Decoder, decoders
from benchmarks.report import print_json
from tacit.errors import ExitCode

MOST_MEGABYTES: Final = 64.0
"""Most by which one input may raise the process's peak of memory."""
MOST_SECONDS: Final = 5.0
"""Most that one input may take; they take about a millisecond."""


@dataclass(slots=True)
class Outcome:
    """What came of a decoder's inputs."""

    taken: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    megabytes: float = 0.0
    findings: list[str] = field(default_factory=list)


def feed(decoder: Decoder, seed: int, number: int, outcome: Outcome) -> None:
    """Give a decoder the input of this number, and note what comes of it."""
    random = Random(f"{seed}/{decoder.name}/{number}")
    before, begun = _peak(), time.perf_counter()
    try:
        decoder.feed(random)
        outcome.taken += 1
    except decoder.declared:
        outcome.refused += 1
    except Exception:  # noqa: BLE001 (what is undeclared is what is looked for)
        outcome.findings.append(f"input {number}: {traceback.format_exc().strip()}")
    seconds, grown = time.perf_counter() - begun, _peak() - before
    outcome.seconds += seconds
    outcome.slowest = max(outcome.slowest, seconds)
    outcome.megabytes = max(outcome.megabytes, grown)
    if seconds > MOST_SECONDS or grown > MOST_MEGABYTES:
        outcome.findings.append(f"input {number}: {seconds:.1f} s and {grown:.0f} MB")


def _peak() -> float:
    """Return the most memory that this process has had, in MB."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def soak(found: Sequence[Decoder], inputs: int, seed: int, console: Console) -> dict[str, Outcome]:
    """Feed every decoder its share of so many inputs."""
    share = -(-inputs // len(found))
    outcomes = {decoder.name: Outcome() for decoder in found}
    with Progress(console=console, transient=True) as progress:
        for decoder in found:
            for number in progress.track(range(share), description=decoder.name):
                feed(decoder, seed, number, outcomes[decoder.name])
    return outcomes


def main() -> int:
    """Print a row for each decoder; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all, at least")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    # They would say what is wrong with each input.
    logging.disable(logging.CRITICAL)
    console = Console()
    console.print(f"seed {asked.seed}")
    with tempfile.TemporaryDirectory() as folder:
        outcomes = soak(decoders(Path(folder)), asked.inputs, asked.seed, console)
    table = Table(title="decoders")
    table.add_column("", no_wrap=True)
    for heading in ("inputs", "taken", "refused", "ms each", "slowest", "MB", "findings"):
        table.add_column(heading, justify="right")
    for name, each in outcomes.items():
        inputs = each.taken + each.refused + len(each.findings)
        table.add_row(
            name,
            str(inputs),
            str(each.taken),
            str(each.refused),
            f"{1000 * each.seconds / inputs:.2f}",
            f"{1000 * each.slowest:.0f}",
            f"{each.megabytes:.0f}",
            str(len(each.findings)),
        )
    console.print(table)
    for name, each in outcomes.items():
        for finding in each.findings[:3]:
            console.print(f"{name}: {finding}", markup=False)
    findings = sum(len(each.findings) for each in outcomes.values())
    print_json(
        "soak_decoders",
        {
            "seed": asked.seed,
            "inputs": sum(each.taken + each.refused for each in outcomes.values()) + findings,
            "findings": findings,
            "seconds": sum(each.seconds for each in outcomes.values()),
            "largest_growth_megabytes": max(each.megabytes for each in outcomes.values()),
        },
    )
    return ExitCode.FAULT if findings else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
