"""What a run leaves for people: report.html, one file that loads nothing.

It is made from results.json, history.jsonl and config.yaml alone, so it can be made again at any
time, and equal input gives equal bytes.
"""

from pathlib import Path

from tacit.errors import RunDirectoryError
from tacit.runs import figures
from tacit.runs.attendance import attendance
from tacit.runs.encoding import write_text
from tacit.runs.guarantee import (
    NO_GUARANTEE,
    SIMULATED_NOISE,
    TEST_DATA,
    guarantee_in_words,
)
from tacit.runs.page import Figure, figure, metric_title, template
from tacit.runs.results import Results, Round, read, read_history
from tacit.runs.summary import (
    LOSS_ON,
    facts,
    learns_nothing,
    models,
    start_of,
    verdicts,
    where,
    why_unmeasured,
)


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
    unmeasured = why_unmeasured(results)
    return template("report.html.j2").render(
        results=results,
        config=config,
        facts=facts(results, history),
        unmeasured=unmeasured,
        learned=[] if unmeasured else _learned_figures(results, history),
        attendance=[] if results.simulation else attendance(results, history),
        spent=_spending_figures(results, history),
        compared=_comparison_figure(results),
        rows=models(results),
        verdicts=verdicts(results),
        where=where(results),
        start=start_of(results),
        nothing=learns_nothing(results),
        words=[
            guarantee_in_words(
                guarantee, results.privacy, results.domain, simulation=results.simulation
            )
            for guarantee in guarantees
            if results.privacy is not None
        ],
        no_guarantee=NO_GUARANTEE,
        simulated_noise=SIMULATED_NOISE,
        test_data=TEST_DATA,
        missing=[line for line in history if line.failed],
    )


def _learned_figures(results: Results, history: tuple[Round, ...]) -> list[Figure]:
    found = results.evaluation
    title = metric_title(found.metric)
    sites = list(found.sites)
    made = []
    losses = [line for line in history if line.loss is not None]
    if losses:
        on = losses[-1].loss_on or ""
        caption = (
            f"Measured on {LOSS_ON.get(on, on)}." if on else "Where it was measured is unknown."
        )
        made.append(figure("Loss", figures.loss_curve(history), caption))
    if any(line.evaluation for line in history):
        made.append(
            figure(
                f"{title} by round",
                figures.metric_curve(history, found.metric, sites),
                f"Measured {where(results)}. Few test records make a line jump.",
            )
        )
    nothing = learns_nothing(results)
    shown = figures.worst_sites(found)
    caption = "The final model" + (f", beside each site's {nothing.name} (bar)" if nothing else "")
    if found.metric == "accuracy" and results.test_records:
        caption += "; the thin line is the 95 % interval that the number of test records allows"
    if len(shown) < len(sites):
        caption += f"; the {len(shown)} worst of {len(sites)} sites"
    made.append(
        figure(
            f"{title} by site",
            figures.metric_rows(
                found, nothing.evaluation if nothing else None, results.test_records
            ),
            f"{caption}. Measured {where(results)}.",
        )
    )
    overall = results.calibration.sites.get("all") if results.calibration else None
    if overall is not None and overall.bins:
        made.append(
            figure(
                "Calibration",
                figures.reliability(overall),
                f"All test records, {where(results)}. On the dashed line, confidence is honest; "
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
        figure(
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
        spent = "has spent" if results.simulation else "had been asked for"
        made.append(
            figure(
                "ε by round",
                figures.epsilon_curve(history, sites),
                f"What each site {spent} after each round, by the same accountant.",
            )
        )
    return made


def _comparison_figure(results: Results) -> Figure | None:
    if not results.comparison:
        return None
    rows = [figures.Row(row["label"], row["evaluation"], row["private"]) for row in models(results)]
    return figure(
        f"{metric_title(results.evaluation.metric)} of each way to get a model",
        figures.rows_of_models(rows, list(results.evaluation.sites)),
        f"Measured in this run, {where(results)}, the same for all. The sites of a model stand at "
        "different heights only to be told apart.",
    )
