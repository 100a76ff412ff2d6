"""What docs/results.md says of accuracy: ``python -m benchmarks.accuracy DOMAIN [KEY=VALUE ...]``.

The run that a person would type, once for each noise seed, with the baselines beside it. Means are
over noise seeds, with a 95 % interval of Student's t; nothing is chosen here. With ``--missing
SITE`` no request to train reaches that site, in any round; its held-out rows count as ever.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats

from benchmarks.report import print_json
from commands.compose import composed
from simulations.cohort import Cohort, Reach, in_process
from simulations.experiment import Arm, Experiment
from simulations.kept import keeping
from simulations.progress import LiveProgress
from simulations.simulate import simulate
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError
from tacit.runs.evaluation import Direction, Evaluation
from tacit.runs.results import Results
from tacit.runs.summary import learns_nothing

RUN = "this run"
MEAN = "mean of sites"


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean of a figure over noise seeds and the half width of its 95 % interval; 0 for one seed."""

    mean: float
    half: float

    def __str__(self) -> str:
        shown = self.half >= 0.0005  # less would print as ± 0.000
        return f"{self.mean:.3f} ± {self.half:.3f}" if shown else f"{self.mean:.3f}"


def interval(values: Sequence[float]) -> Interval:
    """Return the mean and Student's 95 % interval of the mean; of no value, not a number."""
    if not values:
        return Interval(float("nan"), 0.0)
    if len(values) == 1:
        return Interval(float(values[0]), 0.0)
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Interval(float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1)) * error)


def all_but(missing: str) -> Reach:
    """Return what reaches the sites of a training but one."""

    def reach(arm: Arm, experiment: Experiment, folder: Path) -> AbstractContextManager[Cohort]:
        if missing not in arm.rows:
            raise ConfigurationError(
                f"--missing {missing}: is none of the sites: take one of {', '.join(arm.rows)}"
            )
        return in_process(arm, experiment, folder, {missing})

    return reach


def runs(words: Sequence[str], seeds: int, missing: str | None = None) -> Iterator[Results]:
    """Run the experiment once for each noise seed, without one of its sites if it is named."""
    reach = all_but(missing) if missing else in_process
    # Runs share the data, and what a pretrained model has read of it.
    with tempfile.TemporaryDirectory() as folder, keeping():
        for seed in range(seeds):
            config = composed(
                [
                    *words,
                    *([] if "privacy=none" in words else [f"privacy.noise_seed={seed}"]),
                    f"run.dir={folder}/{seed}",
                ]
            )
            with LiveProgress(Console(quiet=True)) as progress:
                yield simulate(read_settings(config), config, progress, reach)[0]


def rows_of(results: Results) -> dict[str, Evaluation]:
    """Return the run and everything measured beside it, by title."""
    nothing = learns_nothing(results)
    return {
        RUN: results.evaluation,
        **({nothing.name: nothing.evaluation} if nothing else {}),
        **{row.title: row.evaluation for row in results.comparison if row.key != "best_single"},
        **{f"{site}'s model": found for site, found in results.single_models.items()},
    }


def gathered(found: Sequence[Results]) -> dict[str, dict[str, Interval]]:
    """Return, for each row, its interval at every site and for the mean of sites."""
    table: dict[str, dict[str, Interval]] = {}
    for title in rows_of(found[0]):
        evaluations = [rows_of(results)[title] for results in found]
        table[title] = {
            site: interval([value for e in evaluations if (value := e.value(site)) is not None])
            for site in found[0].evaluation.sites
        }
        means = [e.mean_of_sites for e in evaluations if e.mean_of_sites is not None]
        table[title][MEAN] = interval(means)
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("domain")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--missing", metavar="SITE", help="is in no round")
    asked = parser.parse_intermixed_args()
    words = [f"domain={asked.domain}", *asked.words]
    console = Console()
    found = list(
        track(
            runs(words, asked.seeds, asked.missing),
            total=asked.seeds,
            description="noise seeds",
            console=Console(stderr=True),
        )
    )
    table = gathered(found)
    _print(console, table, found, asked.seeds)
    figures = {
        f"{title}/{site}": round(value.mean, 4)
        for title, row in table.items()
        for site, value in row.items()
    }
    figures[f"{RUN}/half width of the mean"] = table[RUN][MEAN].half
    away = f" --missing {asked.missing}" if asked.missing else ""
    print_json(f"accuracy {' '.join(words)}{away}", figures)


def _print(
    console: Console,
    table: Mapping[str, Mapping[str, Interval]],
    found: Sequence[Results],
    seeds: int,
) -> None:
    metric = found[0].evaluation.metric
    shown = Table(title=f"{metric}, mean of {seeds} noise seeds with its 95 % interval")
    shown.add_column("")
    # Each site's own model at every other site is in the figures below.
    titles = [title for title in table if not title.endswith("'s model")]
    for title in titles:
        shown.add_column(title, justify="right")
    for site in table[RUN]:
        shown.add_row(site, *(str(table[title][site]) for title in titles))
    console.print(shown)
    alone = next((row for title, row in table.items() if "alone" in title), None)
    if alone is not None:
        sign = 1 if found[0].evaluation.direction is Direction.MAXIMIZE else -1
        losing = [s for s in alone if sign * (table[RUN][s].mean - alone[s].mean) < 0]
        console.print(
            "federated is worse than a site's own model at: " + (", ".join(losing) or "no site")
        )
        singles = {t: row[MEAN] for t, row in table.items() if t.endswith("'s model")}
        best = max(singles, key=lambda title: sign * singles[title].mean)
        console.print(f"best single site at all sites: {best}, {singles[best]}")
    privacy = found[0].privacy
    if privacy is not None:
        epsilons = {s.epsilon for s in privacy.guarantees[0].sites.values()}
        console.print(f"ε {max(epsilons):.4f} at δ {privacy.guarantees[0].delta:g}, per site")


if __name__ == "__main__":
    main()
