"""What a run leaves for people: report.html, one file that loads nothing.

It is made from results.json, history.jsonl and config.yaml alone, so it can be made again at any
time, and equal input gives equal bytes.
"""

import math
from pathlib import Path
from typing import Final

from tacit.errors import RunDirectoryError
from tacit.runs import figures
from tacit.runs.attendance import attendance, attendance_rows
from tacit.runs.audit_figures import audit_figures
from tacit.runs.audited import FILE as AUDIT
from tacit.runs.audited import Audit, read_audit
from tacit.runs.encoding import write_text
from tacit.runs.guarantee import (
    NO_GUARANTEE,
    SIMULATED_NOISE,
    TEST_DATA,
    format_epsilon,
    guarantees_in_words,
)
from tacit.runs.many import LISTED as MANY
from tacit.runs.many import (
    differ,
    over_sites,
    reasons_in_words,
    rows_of,
    spending_left_out,
    spending_rows,
    took_part,
)
from tacit.runs.page import Figure, figure, metric_title, template
from tacit.runs.results import Guarantee, Results, Round, read, read_history
from tacit.runs.seen import what_the_coordinator_sees
from tacit.runs.spread import histogram
from tacit.runs.summary import (
    LOSS_ON,
    facts,
    learns_nothing,
    models,
    out_of_scope_in_words,
    start_of,
    useless_in_words,
    verdicts,
    where,
    why_unmeasured,
)

NOTES: Final = 20
"""Notes that stand in a report; results.json has all."""


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
    write_text(path, render(results, history, config, read_audit(run / AUDIT)))
    return path


def render(
    results: Results, history: tuple[Round, ...], config: str, audit: Audit | None = None
) -> str:
    """Return the report as HTML, with a chapter on the audit where there was one."""
    unmeasured = why_unmeasured(results)
    return template("report.html.j2").render(
        results=results,
        config=config,
        facts=facts(results, history),
        unmeasured=unmeasured,
        learned=[] if unmeasured else _learned_figures(results, history),
        attendance=[] if results.simulation else attendance_rows(attendance(results, history)),
        spent=_spending_figures(results, history),
        compared=_comparison_figure(results),
        taking_part=took_part(results),
        table_sites=rows_of(results.evaluation),
        over_sites=over_sites(results),
        spending_rows=spending_rows,
        spending_left_out=spending_left_out,
        reasons_in_words=reasons_in_words,
        rows=models(results),
        verdicts=verdicts(results),
        where=where(results),
        start=start_of(results),
        nothing=learns_nothing(results),
        useless=useless_in_words(results),
        out_of_scope=out_of_scope_in_words(results),
        words=guarantees_in_words(results),
        audit=audit,
        attacked=audit_figures(audit),
        seen=what_the_coordinator_sees(results),
        no_guarantee=NO_GUARANTEE,
        simulated_noise=SIMULATED_NOISE,
        test_data=TEST_DATA,
        missing=[line for line in history if line.failed],
        notes=results.notes[:NOTES],
        notes_left_out=max(0, len(results.notes) - NOTES),
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
                f"{_band(sites)}Measured {where(results)}. Few test records make a line jump.",
            )
        )
    if sites and (len(sites) <= MANY or differ(found)):
        made.append(_by_site(results))
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


def _by_site(results: Results) -> Figure:
    found, nothing = results.evaluation, learns_nothing(results)
    title, sites = metric_title(found.metric), list(found.sites)
    if len(sites) > MANY:
        values = [value for site in sites if (value := found.value(site)) is not None]
        return figure(
            f"{title} over {len(sites):,} sites",
            histogram("sites", found.metric, values),
            f"How many sites have which value with the final model. Measured {where(results)}.",
        )
    shown = figures.worst_sites(found)
    caption = "The final model" + (f", beside each site's {nothing.name} (bar)" if nothing else "")
    if found.metric == "accuracy" and results.test_records:
        caption += "; the thin line is the 95 % interval that the number of test records allows"
    if len(shown) < len(sites):
        caption += f"; the {len(shown)} worst of {len(sites)} sites"
    return figure(
        f"{title} by site",
        figures.metric_rows(found, nothing.evaluation if nothing else None, results.test_records),
        f"{caption}. Measured {where(results)}.",
    )


def _spending_figures(results: Results, history: tuple[Round, ...]) -> list[Figure]:
    if results.privacy is None:
        return []
    headline = results.privacy.guarantees[0]
    sites = list(headline.sites)
    made = (
        []
        if (found := _epsilon_by_site(headline, results.domain.named(headline.unit))) is None
        else [found]
    )
    if any(line.epsilon for line in history):
        spent = "has spent" if results.simulation else "had been asked for"
        each = f"What each site {spent} after each round"
        if len(sites) > MANY:
            each = f"{_band(sites)}What each site that took part in a round {spent} after it"
        made.append(
            figure(
                "ε by round",
                figures.epsilon_curve(history, sites),
                f"{each}, by the same accountant.",
            )
        )
    return made


def _epsilon_by_site(headline: Guarantee, unit: str) -> Figure | None:
    """Draw ε against the budget; of very many sites how they differ, and nothing where not."""
    sites = list(headline.sites)
    at = f"At δ = {headline.delta:g} per {unit}"
    if len(sites) <= MANY:
        return figure(
            "ε by site",
            figures.epsilon_bars(headline, sites),
            f"{at}; the line is the site's budget for this run."
            + (
                f" The {figures.LISTED} largest of {len(sites)}."
                if len(sites) > figures.LISTED
                else ""
            ),
        )
    finite = [each.epsilon for each in headline.sites.values() if math.isfinite(each.epsilon)]
    if len(set(map(format_epsilon, finite))) < 2:
        return None
    return figure(
        f"ε over {len(sites):,} sites",
        histogram("budget", "ε", finite),
        f"{at}: how many sites spent how much in this run.",
    )


def _marks(results: Results) -> str:
    """Say how sites are drawn in the row of a model."""
    if len(results.evaluation.sites) > MANY:
        return "A thin line goes from the worst to the best site, its thick part over half of them."
    if not results.evaluation.sites:
        return "All sites share one test set."
    return "The sites of a model stand at different heights only to be told apart."


def _band(sites: list[str]) -> str:
    """Say how to read a figure of very many sites."""
    if len(sites) <= MANY:
        return ""
    return "Shaded: all sites, and darker the half of them in the middle. "


def _comparison_figure(results: Results) -> Figure | None:
    if not results.comparison:
        return None
    rows = [figures.Row(row["label"], row["evaluation"], row["private"]) for row in models(results)]
    return figure(
        f"{metric_title(results.evaluation.metric)} of each way to get a model",
        figures.rows_of_models(rows, list(results.evaluation.sites)),
        f"Measured in this run, {where(results)}, the same for all. {_marks(results)}",
    )
