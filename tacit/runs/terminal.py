"""What stands on a terminal when a run has ended."""

from collections.abc import Collection, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tacit.logs import one_line
from tacit.runs.attendance import attendance, attendance_rows
from tacit.runs.audited import Outcome, Stage
from tacit.runs.guarantee import TEST_DATA, format_epsilon
from tacit.runs.many import SPREAD, spread
from tacit.runs.results import Results, Round, SiteSpending
from tacit.runs.summary import why_unmeasured

SPENDING = ("ε", "budget", "σ", "steps")
"""Headings of what `spending_cells` returns."""
NOTES: Final = 20
"""Notes that are printed, at most."""
_MARKS: Final = {
    Outcome.NOT_CONTRADICTED: ("not contradicted", "green"),
    Outcome.CONTRADICTED: ("CONTRADICTED", "bold red"),
    Outcome.NOT_TESTED: ("not tested", "yellow"),
}


def deployed_table(
    results: Results, history: Sequence[Round], report: Path, console: Console
) -> None:
    """Print the rounds and the cost of each site of a deployed run, and where the report is."""
    guarantee = results.privacy.guarantees[0] if results.privacy else None
    table = plain_table("site", "replied", "not asked", "missing", *SPENDING)
    spent = dict(guarantee.sites) if guarantee else {}
    found = attendance(results, history)
    rows = attendance_rows(found)
    for each in rows:
        counts = (str(count) for count in (each.replied, each.not_asked, each.missing))
        table.add_row(each.site, *counts, *spending_cells(spent.pop(each.site, None)))
    if len(rows) < len(found):
        table.add_section()
        spreads = [("", "", "", *cells) for cells in spending_spread(spent.values())]
        for row in rows_of_spread("each of them", spreads):
            table.add_row(*row)
    say(
        console,
        f"\n{results.domain.title}: {results.rounds} of {results.planned_rounds} rounds",
    )
    console.print(table)
    if (why := why_unmeasured(results)) is not None:
        say(console, f"What the model is worth is not measured: {why}.")
    if results.privacy and results.privacy.simulated_noise:
        say(console, f"Test data. {TEST_DATA}")
    elif guarantee is not None:
        say(
            console,
            f"ε is per {results.domain.explained(guarantee.unit)} at δ = {guarantee.delta:g}, of "
            "this run alone.",
        )
    closing(results, report, console)


def plain_table(first: str, *headings: str) -> Table:
    """Make a table with a name at the start of a row, and figures after it."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def spending_cells(spending: SiteSpending | None) -> tuple[str, str, str, str]:
    """Write what a run cost a site; without a guarantee ε is infinite."""
    if spending is None:
        return "∞", "–", "–", "–"
    return (
        format_epsilon(spending.epsilon),
        format_epsilon(spending.epsilon_budget),
        f"{spending.noise_multiplier:.4g}",
        str(spending.steps),
    )


def spending_spread(spent: Collection[SiteSpending]) -> list[tuple[str, str, str, str]]:
    """Write what a run cost many sites, as `SPREAD` names it; without any, without a guarantee."""
    if not spent:
        return [spending_cells(None)] * len(SPREAD)
    lists = zip(
        *((each.epsilon, each.epsilon_budget, each.noise_multiplier, each.steps) for each in spent),
        strict=True,
    )
    spreads = (astuple(known) for values in lists if (known := spread(values)) is not None)
    return [
        (format_epsilon(epsilon), format_epsilon(budget), f"{noise:.4g}", f"{steps:.0f}")
        for epsilon, budget, noise, steps in zip(*spreads, strict=True)
    ]


def rows_of_spread(title: str, rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Put names before the cells of a spread; one row where all sites are alike."""
    if len(set(rows)) == 1:
        return [(title, *rows[0])]
    return [
        (f"{title}, {name}" if name == SPREAD[0] else f"  {name}", *cells)
        for name, cells in zip(SPREAD, rows, strict=True)
    ]


def closing(results: Results, report: Path, console: Console) -> None:
    """Print the notes of a run, and last where its report is."""
    for note in results.notes[:NOTES]:
        say(console, f"note: {note}")
    if len(results.notes) > NOTES:
        say(console, f"note: {len(results.notes) - NOTES:,} more are in results.json")
    plainly(console, f"report: {report}")


def say(console: Console, text: str) -> None:
    """Print prose: wrapped at words on a screen, not at all in a file."""
    console.print(text, soft_wrap=not console.is_terminal, markup=False, highlight=False)


def plainly(console: Console, text: str) -> None:
    """Print as it stands, never wrapped: a path must survive copying."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def show_stage(console: Console, stage: Stage) -> None:
    """Print a stage of an audit: its outcome, and a line for each test."""
    title = stage.name.replace("_", " ")
    console.print(Text(f"{title}: ", style="bold") + Text(*_MARKS[stage.outcome]))
    if stage.why:
        console.print(Text(f"    {stage.why}"), soft_wrap=True)
    for finding in stage.findings:
        sign = Text("    ")
        if finding.contradicted:
            sign = Text("  ! ", style="bold red")
        elif not finding.tested:
            sign = Text("  ? ", style="yellow")
        said = Text(f"{finding.test}: {one_line(finding.said)}")
        console.print(sign + said, soft_wrap=True)
