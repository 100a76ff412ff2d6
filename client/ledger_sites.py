"""The one ledger of a simulation's sites: added up on a terminal, as JSON and as CSV."""

import math
from collections.abc import Iterable

from rich.table import Table

from client.ledger_home import Place
from client.ledger_screen import date, number, plain, print_rows, screen
from tacit.privacy.cohort_summary import CohortSummary, Quantiles

SPREAD = ("least", "lower quartile", "median", "upper quartile", "most")


def print_sites(summary: CohortSummary, place: Place, trouble: list[str]) -> None:
    """Print the runs, how what was spent spreads over the sites, and the dearest of them."""
    console = screen()
    console.print(f"simulation {plain(summary.simulation)}", style="bold")
    console.print(f"unit {summary.unit}, relation {summary.relation}")
    print_rows(console, summary.rows_of_kind, summary.receipt, place, trouble)
    console.print(f"{summary.sites:,} sites, of which {summary.charged:,} were charged")
    if not summary.runs:
        return
    console.print()
    headings = ("run", "sites", "charged", "open", "reserved", "last heard of")
    runs = (
        (
            plain(run.run),
            f"{run.sites:,}",
            f"{run.charged:,}",
            f"{run.open:,}",
            date(run.first),
            date(run.last),
        )
        for run in summary.runs
    )
    console.print(_table(headings, runs), soft_wrap=False)
    console.print()
    figures = {
        "rounds": summary.rounds,
        "steps": summary.steps,
        f"ε spent, at δ = {summary.delta:g}": summary.epsilon,
    }
    spread = ((name, *_quantiles(found)) for name, found in figures.items() if found is not None)
    console.print(_table(("over the sites", *SPREAD), spread), soft_wrap=False)
    console.print()
    if summary.dearest:
        dearest = (
            (plain(cost.site), str(cost.rounds), str(cost.steps), number(cost.epsilon))
            for cost in summary.dearest
        )
        console.print(_table(("dearest sites", "rounds", "steps", "ε spent"), dearest))
    else:
        console.print("all have spent the same")
    if summary.as_dear:
        console.print(f"and {summary.as_dear:,} more that have spent as much as the last")
    if summary.epsilon and math.isinf(summary.epsilon.most):
        console.print("∞: noise could be predicted or there was none: these are test data")


def _table(headings: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _quantiles(found: Quantiles) -> list[str]:
    each = (found.least, found.lower, found.median, found.upper, found.most)
    return [number(value) for value in each]
