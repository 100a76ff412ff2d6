"""What a sweep leaves: sweep.json for programs, sweep.html for people, a row a job."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from tacit.errors import ExitCode
from tacit.runs.drawing import PAPER, SERIES, draw
from tacit.runs.encoding import encode, write_text
from tacit.runs.guarantee import format_epsilon
from tacit.runs.page import template
from tacit.runs.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEMA: Final = "tacit/sweep/1"


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One job: the name of its folder, its overrides, and how it ended."""

    job: str
    overrides: tuple[str, ...]
    exit_code: int
    results: Results | None = None
    error: str | None = None

    @property
    def epsilon(self) -> float | None:
        """The largest ε of a site, None without privacy or without results."""
        if self.results is None or self.results.privacy is None:
            return None
        return self.results.privacy.guarantees[0].largest_epsilon

    @property
    def ended(self) -> str:
        """How the job ended, in a word."""
        try:
            return ExitCode(self.exit_code).name.lower().replace("_", " ")
        except ValueError:
            return f"exit code {self.exit_code}"


def write_sweep(path: Path, rows: Sequence[SweepRow]) -> Path:
    """Write `path`/sweep.json and `path`/sweep.html, and return the latter.

    Raises
    ------
    RunDirectoryError
        A file cannot be written.
    """
    found = {"schema": SCHEMA, "jobs": [_job(row) for row in rows]}
    write_text(
        path / "sweep.json",
        json.dumps(encode(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    )
    page = path / "sweep.html"
    metrics = {row.results.evaluation.metric for row in rows if row.results is not None}
    write_text(
        page,
        template("sweep.html.j2").render(
            name=path.name,
            rows=rows,
            metric=metrics.pop() if len(metrics) == 1 else "metric",
            figure=_figure(rows),
            simulation=any(row.results is not None and row.results.simulation for row in rows),
        ),
    )
    return page


def _job(row: SweepRow) -> dict[str, Any]:
    results = row.results
    guarantee = results.privacy.guarantees[0] if results and results.privacy else None
    return {
        "job": row.job,
        "overrides": row.overrides,
        "exit_code": row.exit_code,
        "error": row.error,
        "epsilon": row.epsilon,
        "delta": guarantee.delta if guarantee else None,
        "evaluation": encode(results.evaluation) if results else None,
    }


def _figure(rows: Sequence[SweepRow]) -> Markup | None:
    """ε against the metric, where ε varies and the jobs measured one metric.

    Where very many sites share one test set there is no worst one: it is the mean.
    """
    points, metrics = [], set()
    for row in rows:
        found = row.results.evaluation if row.results else None
        if found is None or row.epsilon is None or not math.isfinite(row.epsilon):
            continue
        if (mean := found.mean_of_sites) is not None:
            worst = found.worst_site.value if found.worst_site else mean
            points.append((row.epsilon, mean, worst))
            metrics.add(found.metric)
    if len(metrics) != 1 or len({epsilon for epsilon, _, _ in points}) < 2:
        return None
    return Markup(epsilon_against_metric(points, metrics.pop()))  # made by `drawing`


def epsilon_against_metric(points: Sequence[tuple[float, float, float]], metric: str) -> str:
    """A sweep: `points` are (ε, mean of sites, worst site), all finite."""
    ordered = sorted(points)

    def plot(axes: "Axes") -> None:
        epsilons = [point[0] for point in ordered]
        for column, label, fill in ((1, "mean of sites", SERIES[0]), (2, "worst site", PAPER)):
            values = [point[column] for point in ordered]
            axes.plot(
                epsilons,
                values,
                color=SERIES[0],
                linestyle="-" if column == 1 else ":",
                marker="o",
                markerfacecolor=fill,
                label=label,
            )
        axes.set_xscale("log")
        axes.set_xticks(epsilons, [format_epsilon(epsilon) for epsilon in epsilons])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("largest ε of a site")
        axes.set_ylabel(metric)
        axes.legend()

    return draw("sweep", f"{metric} against ε", plot, height=3.0)
