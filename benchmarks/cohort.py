"""What a simulated round costs, beside others: ``python -m benchmarks.cohort``.

1,000 users with 50 images of scikit-learn's digits each, a cohort of 50, one local epoch of 5 steps
of 10 images, plain descent at 0.1. Ours are whole rounds of tacit-simulate: messages, ledgers,
training, aggregation, history and checkpoint. Beside them, in turn and in the same minutes: pfl
0.6.0 without privacy, Opacus one site after another, and Flower on Ray for sites that do nothing.
Pair after pair each side is a process of its own with one thread; a figure is the median of the
pairs, in CPU seconds a round, and a ratio is the median of the pairs' ratios.

pfl and Ray live in environments of their own, made on first use in the user's cache folder.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.cohort_sides import Reading, Side, idle, opacus, ours, pfl
from benchmarks.report import print_json
from tacit.experiment import default_cache

Pair = Mapping[str, float]
"""CPU seconds a round of each side, from one pair."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure against another, and the largest value that is good enough."""

    of: Callable[[Pair], float]
    most: float


@dataclass(frozen=True, slots=True)
class Group:
    """Sides that are measured in turn.

    Parameters
    ----------
    sides
        By name.
    ratios
        By name.
    share
        Part of the asked rounds that this group makes: rounds differ in length.
    """

    sides: Mapping[str, Side]
    ratios: Mapping[str, Ratio]
    share: float = 1.0


GROUPS: Final[Mapping[str, Group]] = {
    "mlp": Group(
        {
            "pfl_mlp_nodp": pfl("mlp"),
            "mlp_nodp": ours("mlp", "privacy=none"),
            "mlp_dp": ours("mlp", "privacy=record"),
            "mlp_dp_loop": ours("mlp", "privacy=record", "engine=loop"),
            "opacus_mlp_dp": opacus,
        },
        {
            "mlp_nodp_over_pfl_nodp": Ratio(lambda p: p["mlp_nodp"] / p["pfl_mlp_nodp"], 0.15),
            "mlp_dp_over_pfl_nodp": Ratio(lambda p: p["mlp_dp"] / p["pfl_mlp_nodp"], 0.25),
            "mlp_dp_over_opacus_loop": Ratio(
                lambda p: p["mlp_dp"] / min(p["opacus_mlp_dp"], p["mlp_dp_loop"]), 1 / 15
            ),
        },
    ),
    "cnn": Group(
        {"pfl_cnn_nodp": pfl("cnn"), "cnn_dp": ours("cnn", "privacy=record")},
        {"cnn_dp_over_pfl_nodp": Ratio(lambda p: p["cnn_dp"] / p["pfl_cnn_nodp"], 0.65)},
        share=0.5,
    ),
    "cifar": Group(
        {
            "pfl_cifar_nodp": pfl("cifar"),
            "cifar_auto": ours("cifar", "privacy=none", "engine=auto"),
            "cifar_stacked": ours("cifar", "privacy=none", "engine=stacked"),
            "cifar_loop": ours("cifar", "privacy=none", "engine=loop"),
        },
        {
            "cifar_auto_over_pfl": Ratio(lambda p: p["cifar_auto"] / p["pfl_cifar_nodp"], 1.05),
            "cifar_auto_over_faster_engine": Ratio(
                lambda p: p["cifar_auto"] / min(p["cifar_stacked"], p["cifar_loop"]), 1.05
            ),
        },
        share=0.1,
    ),
    "idle": Group(
        {"ray_idle": idle("ray"), "idle": idle("here")},
        {"idle_over_ray": Ratio(lambda p: p["idle"] / p["ray_idle"], 0.1)},
    ),
}


def paired(
    sides: Mapping[str, Side], pairs: int, rounds: int, environments: Path
) -> list[dict[str, Reading]]:
    """Measure every side once a pair; every second pair backwards: no side is always first."""
    found = []
    for number in range(pairs):
        names = list(sides)[:: 1 if number % 2 == 0 else -1]
        found.append({name: sides[name](rounds, environments) for name in names})
    return found


def ratios_of(ratios: Mapping[str, Ratio], pairs: Sequence[Pair]) -> dict[str, float]:
    """Return the medians of the pairs' ratios."""
    return {
        name: statistics.median(ratio.of(pair) for pair in pairs) for name, ratio in ratios.items()
    }


def figures_of(pairs: Sequence[Mapping[str, Reading]]) -> dict[str, float]:
    """Return the medians of what was read of each side."""
    found = {}
    for side in pairs[0]:
        readings = [pair[side] for pair in pairs]
        found[f"{side}_cpu_seconds_per_round"] = statistics.median(r.seconds for r in readings)
        if reported := [r.reported for r in readings if r.reported is not None]:
            found[f"{side}_reported_cpu_seconds_per_round"] = statistics.median(reported)
        if start_ups := [r.start_up for r in readings if r.start_up is not None]:
            found[f"{side}_start_up_seconds"] = statistics.median(start_ups)
    return found


def main() -> None:
    """Measure, and print tables and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cohort")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=20, help="of the perceptron; others fewer")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument(
        "--environments", type=Path, default=None, help="folder for others' environments"
    )
    asked = parser.parse_args()
    environments = asked.environments or default_cache() / "environments"
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for name in asked.only:
        group = GROUPS[name]
        rounds = max(2, round(asked.rounds * group.share))
        pairs = paired(group.sides, asked.pairs, rounds, environments.resolve())
        seconds = [{side: found.seconds for side, found in pair.items()} for pair in pairs]
        own = figures_of(pairs)
        _show(name, rounds, group, seconds, own)
        figures |= own
        ratios |= ratios_of(group.ratios, seconds)
    print_json("cohort", figures, ratios)


def _show(
    name: str, rounds: int, group: Group, pairs: Sequence[Pair], figures: Mapping[str, float]
) -> None:
    console = Console()
    table = Table(title=f"{name}: CPU seconds a round, {len(pairs)} pairs of {rounds} rounds")
    for heading in ("side", "median", "least", "most", "start-up, s"):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    for side in group.sides:
        found = [pair[side] for pair in pairs]
        start_up = figures.get(f"{side}_start_up_seconds")
        table.add_row(
            side,
            *(f"{value:.4f}" for value in (statistics.median(found), min(found), max(found))),
            "" if start_up is None else f"{start_up:.2f}",
        )
    console.print(table)
    table = Table(title=f"{name}: ratios, medians of the pairs' own")
    for heading in ("ratio", "median", "least", "most", "at most"):
        table.add_column(heading, justify="left" if heading == "ratio" else "right")
    for title, ratio in group.ratios.items():
        found = [ratio.of(pair) for pair in pairs]
        table.add_row(
            title,
            *(f"{value:.3f}" for value in (statistics.median(found), min(found), max(found))),
            f"{ratio.most:.3f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
