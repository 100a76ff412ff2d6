"""What stands on a terminal when a run has ended."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tacit.runs.attendance import attendance
from tacit.runs.guarantee import TEST_DATA, format_epsilon
from tacit.runs.results import Results, Round, SiteSpending
from tacit.runs.summary import why_unmeasured

SPENDING = ("ε", "budget", "σ", "steps")
"""Headings of what `spending_cells` returns."""


def deployed_table(
    results: Results, history: Sequence[Round], report: Path, console: Console
) -> None:
    """Print the rounds and the cost of each site of a deployed run, and where the report is."""
    guarantee = results.privacy.guarantees[0] if results.privacy else None
    table = plain_table("site", "replied", "not asked", "missing", *SPENDING)
    for each in attendance(results, history):
        spending = guarantee.sites.get(each.site) if guarantee else None
        counts = (str(count) for count in (each.replied, each.not_asked, each.missing))
        table.add_row(each.site, *counts, *spending_cells(spending))
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
            f"ε is per {guarantee.unit.value} at δ = {guarantee.delta:g}, of this run alone.",
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


def closing(results: Results, report: Path, console: Console) -> None:
    """Print the notes of a run, and last where its report is."""
    for note in results.notes:
        say(console, f"note: {note}")
    plainly(console, f"report: {report}")


def say(console: Console, text: str) -> None:
    """Print prose: wrapped at words on a screen, not at all in a file."""
    console.print(text, soft_wrap=not console.is_terminal, markup=False, highlight=False)


def plainly(console: Console, text: str) -> None:
    """Print as it stands, never wrapped: a path must survive copying."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)
