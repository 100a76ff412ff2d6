"""What a run leaves for people: report.html, one file that loads nothing.

It is made from results.json, history.jsonl and config.yaml alone, so it can be made again at any
time, and equal input gives equal bytes.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from tacit.errors import RunDirectoryError
from tacit.runs import figures
from tacit.runs.encoding import write_text
from tacit.runs.evaluation import Direction, Evaluation
from tacit.runs.guarantee import (
    NO_GUARANTEE,
    SIMULATED_NOISE,
    format_epsilon,
    guarantee_in_words,
)
from tacit.runs.page import format_duration, format_figure, metric_title, template
from tacit.runs.results import Results, Round, read, read_history

MAJORITY: Final = "majority_class"
SHARES: Final = frozenset({"accuracy", "auc"})


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot, its heading and what to know when reading it."""

    heading: str
    svg: Markup
    caption: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One cell of the strip below the title."""

    label: str
    value: str
    detail: str


def write_report(run: Path) -> Path:
    """Write `run`/report.html and return its path.

    Raises
    ------
    RunDirectoryError
        results.json, history.jsonl or config.yaml is missing or damaged, or the report cannot be
        written.
    """
    results, history = read(run / "results.json"), read_history(run / "history.jsonl")
    try:
        config = (run / "config.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunDirectoryError(f"{run / 'config.yaml'} cannot be read: {error}") from error
    path = run / "report.html"
    write_text(path, render(results, history, config))
    return path


def render(results: Results, history: tuple[Round, ...], config: str) -> str:
    """Return the report as HTML."""
    guarantees = results.privacy.guarantees if results.privacy else ()
    return template("report.html.j2").render(
        results=results,
        config=config,
        facts=_facts(results),
        learned=_learned_figures(results, history),
        spent=_spending_figures(results, history),
        compared=_comparison_figure(results),
        rows=_models(results),
        majority=results.baselines.get(MAJORITY),
        words=[
            guarantee_in_words(
                guarantee, results.privacy, results.domain, simulation=results.simulation
            )
            for guarantee in guarantees
            if results.privacy is not None
        ],
        no_guarantee=NO_GUARANTEE,
        simulated_noise=SIMULATED_NOISE,
        missing=[line for line in history if line.failed],
    )


def _facts(results: Results) -> list[Fact]:
    found = results.evaluation
    majority = results.baselines.get(MAJORITY)
    held_out = "held out (simulation only)" if results.simulation else "on public data"
    facts = [
        Fact(
            metric_title(found.metric),
            format_figure(found.mean_of_sites),
            f"mean of sites, {held_out}",
        )
    ]
    if majority is not None:
        facts.append(
            Fact(
                "Majority class",
                format_figure(majority.mean_of_sites),
                _gain(found, majority.mean_of_sites),
            )
        )
    if found.worst_site is not None:
        worst = found.worst_site
        facts.append(Fact("Worst site", format_figure(worst.value), worst.site))
    facts.append(_epsilon_fact(results))
    facts.append(_rounds_fact(results))
    per_round = results.timing.seconds_per_round
    facts.append(
        Fact(
            "Time",
            format_duration(results.timing.seconds),
            "in all" if per_round is None else f"{format_duration(per_round)} a round",
        )
    )
    return facts


def _gain(found: Evaluation, base: float | None) -> str:
    if found.mean_of_sites is None or base is None:
        return "the baseline"
    better = found.mean_of_sites - base
    if found.direction is Direction.MINIMIZE:
        better = -better
    amount = f"{abs(100 * better):.1f} points" if found.metric in SHARES else f"{abs(better):.3g}"
    return f"the baseline; this run is {amount} {'better' if better >= 0 else 'worse'}"


def _epsilon_fact(results: Results) -> Fact:
    if results.privacy is None:
        return Fact("Privacy", "none", "no privacy guarantee")
    headline = results.privacy.guarantees[0]
    return Fact(
        "Largest ε",
        format_epsilon(headline.largest_epsilon),
        f"of a site, per {headline.unit}, at δ = {headline.delta:g}"
        + (", were this deployed" if results.privacy.simulated_noise else ""),
    )


def _rounds_fact(results: Results) -> Fact:
    ended_early = results.rounds < results.planned_rounds
    return Fact(
        "Rounds",
        str(results.rounds),
        f"of {results.planned_rounds}" + (" planned: ended early" if ended_early else ""),
    )


def _learned_figures(results: Results, history: tuple[Round, ...]) -> list[Figure]:
    found = results.evaluation
    title = metric_title(found.metric)
    sites = list(found.sites)
    made = []
    losses = [line for line in history if line.loss is not None]
    if losses:
        where = losses[-1].loss_on or "not stated where"
        made.append(_figure("Loss", figures.loss_curve(history), f"Measured on: {where}."))
    if any(line.evaluation for line in history):
        made.append(
            _figure(
                f"{title} by round",
                figures.metric_curve(history, found.metric, sites),
                "On held-out records of each site (simulation only). Few test records make a "
                "line jump.",
            )
        )
    majority = results.baselines.get(MAJORITY)
    shown = figures.worst_sites(found)
    caption = "The final model" + (", beside each site's majority class (bar)" if majority else "")
    if found.metric == "accuracy":
        caption += "; the thin line is the 95 % interval that the number of test records allows"
    if len(shown) < len(sites):
        caption += f"; the {len(shown)} worst of {len(sites)} sites"
    made.append(
        _figure(
            f"{title} by site",
            figures.metric_rows(found, majority, results.test_records),
            caption + ". Held out, simulation only.",
        )
    )
    overall = results.calibration.sites.get("all") if results.calibration else None
    if overall is not None and overall.bins:
        made.append(
            _figure(
                "Calibration",
                figures.reliability(overall),
                "All test records (simulation only). On the dashed line, confidence is honest; "
                "the numbers are test records. Expected calibration error "
                f"{overall.expected_calibration_error:.3f}.",
            )
        )
    return made


def _spending_figures(results: Results, history: tuple[Round, ...]) -> list[Figure]:
    if results.privacy is None:
        return []
    headline = results.privacy.guarantees[0]
    sites = list(headline.sites)
    made = [
        _figure(
            "ε by site",
            figures.epsilon_bars(headline, sites),
            f"At δ = {headline.delta:g} per {headline.unit}; the line is the site's budget for "
            "this run."
            + (
                f" The {figures.LISTED} largest of {len(sites)}."
                if len(sites) > figures.LISTED
                else ""
            ),
        )
    ]
    if any(line.epsilon for line in history):
        made.append(
            _figure(
                "ε by round",
                figures.epsilon_curve(history, sites),
                "What each site has spent after each round, by the same accountant.",
            )
        )
    return made


def _models(results: Results) -> list[dict[str, Any]]:
    """Rows of the comparison: this run first, then the others, then the majority class."""
    privacy = results.privacy
    epsilon = privacy.guarantees[0].largest_epsilon if privacy else None
    rows: list[dict[str, Any]] = [
        {"title": "This run", "evaluation": results.evaluation, "epsilon": epsilon, "note": ""}
    ]
    rows += [
        {"title": row.title, "evaluation": row.evaluation, "epsilon": row.epsilon, "note": row.note}
        for row in results.comparison
    ]
    majority = results.baselines.get(MAJORITY)
    if majority is not None and all(row.key != MAJORITY for row in results.comparison):
        rows.append(
            {
                "title": "Majority class of each site",
                "evaluation": majority,
                "epsilon": None,
                "note": "learns nothing",
            }
        )
    return rows


def _comparison_figure(results: Results) -> Figure | None:
    if not results.comparison:
        return None
    rows = [
        figures.Row(
            row["title"],
            row["evaluation"],
            row["epsilon"] is not None and math.isfinite(row["epsilon"]),
        )
        for row in _models(results)
    ]
    return _figure(
        f"{metric_title(results.evaluation.metric)} of each way to get a model",
        figures.rows_of_models(rows, list(results.evaluation.sites)),
        "Measured in this run, on the same held-out records (simulation only).",
    )


def _figure(heading: str, svg: str, caption: str) -> Figure:
    return Figure(heading, Markup(svg), caption)  # made by `drawing`, which escapes names
