"""LoRA on a frozen transformer, 32 sites at once: ``python -m benchmarks.lora_cohort``.

A frozen encoder of MiniLM's size (see `benchmarks.lora_cohort_model`); at each site LoRA pairs and
a head train on 64 texts of 16 tokens, a Poisson sample of 8 a step, with clipping and noise. The
stacked engine's cohort stands beside the loop, which trains one site after another.

Each reading is a process of its own with one thread. Memory is the peak of its resident set once it
has its modules, one backbone and a set of adapters for each site: what comes on top of these. How
it grows with sites comes of cohorts of several sizes; what does not grow is activations. Seconds
are the processor's, of pairs, in turn. Both ways must also give the same weights, without noise.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.lora_cohort_model import SIZES, encoder
from benchmarks.report import print_json
from tacit.errors import TacitError

SAME: Final = 1e-5
"""Largest relative difference of weights that counts as rounding."""
ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Asked:
    """What is measured: the encoder's size, sites of a cohort, pairs, and steps of a process."""

    size: str
    sites: int
    pairs: int
    steps: int


@dataclass(frozen=True, slots=True)
class Reading:
    """MiB before training and at the peak, and the CPU seconds of a step: the first is left out."""

    ready: float
    peak: float
    seconds: float

    @property
    def more(self) -> float:
        """What training takes beyond modules, backbone and adapters."""
        return self.peak - self.ready


def side(way: str, size: str, sites: int, steps: int) -> Mapping[str, object]:
    """Run a process of `benchmarks.lora_cohort_side` and return what it printed."""
    words = [way, f"--size={size}", f"--sites={sites}", f"--steps={steps}"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.lora_cohort_side", *words],
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TacitError(f"{' '.join(words)}: {done.stderr[-2000:]}")
    found: Mapping[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def read(way: str, asked: Asked, sites: int | None = None, steps: int | None = None) -> Reading:
    """Measure one way once."""
    found = side(way, asked.size, sites or asked.sites, steps or asked.steps)
    seconds = found["seconds"]
    if not isinstance(seconds, list):
        raise TacitError(f"{way}: no seconds in {found}")
    return Reading(
        float(str(found["ready_mib"])),
        float(str(found["peak_mib"])),
        statistics.median(seconds[1:] or seconds or [0.0]),
    )


def paired(asked: Asked) -> list[dict[str, Reading]]:
    """Measure both ways once a pair, every second pair backwards."""
    ways = ("stacked", "loop")
    return [
        {way: read(way, asked) for way in ways[:: 1 if number % 2 == 0 else -1]}
        for number in range(asked.pairs)
    ]


def growth(found: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return MiB that do not depend on the number of sites, and MiB a site: a straight line."""
    fit = statistics.linear_regression(*zip(*found, strict=True))
    return fit.intercept, fit.slope


def held(size: str) -> tuple[float, float]:
    """Return MiB of one backbone and of one set of adapters."""
    model = encoder(SIZES[size])
    everything = sum(p.nbytes for p in model.parameters()) / MIB
    adapters = sum(p.nbytes for p in model.parameters() if p.requires_grad) / MIB
    return everything - adapters, adapters


def measure(asked: Asked) -> tuple[dict[str, float], dict[str, float]]:
    """Measure everything; return figures and ratios by name."""
    backbone, adapters = held(asked.size)
    apart = float(str(side("same", asked.size, asked.sites, 2)["difference"]))
    pairs = paired(asked)
    sizes = (max(1, asked.sites // 4), asked.sites, 3 * asked.sites)
    grown = [(sites, read("stacked", asked, sites, 1).more) for sites in sizes]
    fixed, per_site = growth(grown)
    wide = read("one_pass", asked, steps=2)
    figures = {
        "backbone_mib": backbone,
        "adapters_mib_per_site": adapters,
        "held_mib": pairs[0]["stacked"].ready,
        "stacked_more_mib": statistics.median(pair["stacked"].more for pair in pairs),
        "loop_more_mib": statistics.median(pair["loop"].more for pair in pairs),
        "one_pass_more_mib": wide.more,
        "stacked_activations_mib": fixed,
        "stacked_more_mib_per_site": per_site,
        "stacked_cpu_seconds_per_step": statistics.median(p["stacked"].seconds for p in pairs),
        "loop_cpu_seconds_per_step": statistics.median(p["loop"].seconds for p in pairs),
        "one_pass_cpu_seconds_per_step": wide.seconds,
        "difference": apart,
    }
    figures |= {f"stacked_more_mib_{sites}_sites": more for sites, more in grown}
    backbones = asked.sites * (backbone + adapters)
    ratios = {
        "stacked_over_loop_cpu_seconds": statistics.median(
            pair["stacked"].seconds / pair["loop"].seconds for pair in pairs
        ),
        "stacked_over_a_model_each_memory": (
            backbone + asked.sites * adapters + figures["stacked_more_mib"]
        )
        / backbones,
        "working_copies_of_adapters": per_site / adapters,
    }
    return figures, ratios


def main() -> None:
    """Measure, and print a table and one line of JSON; exit code 1 where weights differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lora_cohort")
    parser.add_argument("--size", choices=list(SIZES), default="minilm")
    parser.add_argument("--sites", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="of each process of a pair")
    given = parser.parse_args()
    asked = Asked(given.size, given.sites, given.pairs, given.steps)
    figures, ratios = measure(asked)
    _show(asked, figures, ratios)
    print_json("lora_cohort", figures, ratios)
    sys.exit(0 if figures["difference"] <= SAME else 1)


def _show(asked: Asked, figures: Mapping[str, float], ratios: Mapping[str, float]) -> None:
    console = Console()
    table = Table(title=f"{asked.sites} sites with LoRA on one backbone ({asked.size}), one thread")
    for heading in ("way", "CPU s a step", "MiB on top", "MiB in all"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for way, title in (
        ("stacked", "stacked, in passes that fit a cache"),
        ("one_pass", "stacked, all rows in one pass"),
        ("loop", "loop, one site after another"),
    ):
        more = figures[f"{way}_more_mib"]
        seconds = figures[f"{way}_cpu_seconds_per_step"]
        total = figures["held_mib"] + more
        table.add_row(title, f"{seconds:.2f}", f"{more:.0f}", f"{total:.0f}")
    console.print(table)
    backbone, adapters = figures["backbone_mib"], figures["adapters_mib_per_site"]
    console.print(
        f"Held before training: {figures['held_mib']:.0f} MiB, of which one backbone "
        f"{backbone:.0f} and adapters {asked.sites * adapters:.1f} ({adapters:.2f} a site).\n"
        f"Stacked takes on top {figures['stacked_activations_mib']:.0f} MiB whatever the number of "
        f"sites, and {figures['stacked_more_mib_per_site']:.2f} a site: "
        f"{ratios['working_copies_of_adapters']:.1f} more sets of its adapters.\n"
        f"Stacked takes {ratios['stacked_over_loop_cpu_seconds']:.2f} of the loop's time, and "
        f"{ratios['stacked_over_a_model_each_memory']:.2f} of the memory of a model each.\n"
        f"Weights of both, without noise: {figures['difference']:.1e} apart, relative."
    )


if __name__ == "__main__":
    main()
