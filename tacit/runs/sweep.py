"""What a sweep leaves: sweep.json for programs, sweep.html for people, a row a job."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from tacit.errors import ExitCode
from tacit.runs.encoding import encode, write_text
from tacit.runs.figures import epsilon_against_metric
from tacit.runs.page import template
from tacit.runs.results import Results

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
    """ε against the metric, where ε varies and the jobs measured one metric."""
    points, metrics = [], set()
    for row in rows:
        found = row.results.evaluation if row.results else None
        if found is None or row.epsilon is None or not math.isfinite(row.epsilon):
            continue
        if found.mean_of_sites is not None and found.worst_site is not None:
            points.append((row.epsilon, found.mean_of_sites, found.worst_site.value))
            metrics.add(found.metric)
    if len(metrics) != 1 or len({epsilon for epsilon, _, _ in points}) < 2:
        return None
    return Markup(epsilon_against_metric(points, metrics.pop()))  # made by `drawing`
