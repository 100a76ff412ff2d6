"""What an audit of the demo costs: ``python -m benchmarks.audit_cost``, about two minutes.

Rounds of the demo with canaries in them beside rounds without, in turn, in one process; and the
whole of ``tacit-audit`` on the demo, as a process of its own.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from rich.console import Console

import simulations.simulate
from benchmarks.report import print_json
from commands.compose import composed
from simulations.progress import LiveProgress
from tacit.configuration import read_settings

ROUNDS: Final = 200


def rounds(folder: Path, *words: str) -> tuple[float, str]:
    """Make a run of the demo; return CPU seconds of a round, and the hash of its weights."""
    config = composed([f"training.rounds={ROUNDS}", *words, f"run.dir={folder}", "compare=false"])
    with LiveProgress(Console(quiet=True)) as progress:
        results, _ = simulations.simulate.simulate(read_settings(config), config, progress)
    return results.timing.cpu_seconds_per_round or 0.0, results.weights_sha256


def in_turn(pairs: int) -> tuple[list[float], float, bool]:
    """Return the ratios of CPU time of a round, the plain round's seconds, and if weights agree."""
    ratios, plain, same = [], [], True
    with TemporaryDirectory() as folder:
        rounds(Path(folder) / "warm")
        for number in range(pairs):
            seconds, weights = rounds(Path(folder) / f"{number}a")
            more, carried = rounds(Path(folder) / f"{number}b", "audit=in_run")
            plain.append(seconds)
            ratios.append(more / seconds)
            same = same and weights == carried
    return ratios, statistics.median(plain), same


def whole() -> float:
    """Return the wall-clock seconds that tacit-audit takes on the demo's run."""
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        subprocess.run(
            [sys.executable, "-P", "-m", "simulations.command", f"run.dir={run}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-P", "-m", "audits.command", f"run={run}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - started


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ratios, plain, same = in_turn(asked.pairs)
    seconds = whole()
    ratio = statistics.median(ratios)
    console = Console()
    console.print(
        f"a round of the demo: {1000 * plain:.2f} ms CPU; with 1000 canaries {ratio:.3f} times as "
        f"much ({min(ratios):.3f} to {max(ratios):.3f}); weights {'equal' if same else 'DIFFER'}"
    )
    console.print(f"tacit-audit of the demo: {seconds:.1f} s")
    print_json(
        "audit_cost",
        {"audit_seconds": round(seconds, 1), "plain_round_cpu_seconds": plain},
        {"round_with_canaries_over_plain": round(ratio, 4)},
    )


if __name__ == "__main__":
    main()
