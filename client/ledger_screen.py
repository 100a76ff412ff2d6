"""A ledger on a person's terminal."""

import math
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from client.ledger_home import Place
from tacit.privacy.chain import Receipt
from tacit.privacy.ledger_summary import RunSummary, Summary

WIDTH_OF_A_PIPE = 120


def print_screen(summary: Summary, place: Place, trouble: list[str]) -> None:
    """Print the runs as a table, and below it what the data set cost and what is left."""
    console = screen()
    console.print(f"data set {plain(summary.data_set)}", style="bold")
    console.print(f"unit {summary.unit}, relation {summary.relation}")
    print_rows(console, summary.rows_of_kind, summary.receipt, place, trouble)
    if summary.runs:
        console.print(_table(summary.runs), soft_wrap=False)
        console.print()
    for line in _life(summary):
        console.print(line)


def screen() -> Console:
    """Return the terminal, or a pipe of a fixed width; text is never taken for markup."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDTH_OF_A_PIPE
    return console


def print_rows(
    console: Console,
    rows_of_kind: Mapping[str, int],
    receipt: Receipt,
    place: Place,
    trouble: list[str],
) -> None:
    """Print how many rows there are, the head, and whether the second place agrees."""
    counts = ", ".join(f"{count:,} {kind.split('/')[0]}" for kind, count in rows_of_kind.items())
    counted = sum(rows_of_kind.values())
    if counted < receipt.count:
        counts = f"{counted:,} of this site: {counts}"
    console.print(f"{place.ledger}: {receipt.count:,} rows ({counts})")
    console.print(f"head {receipt.head}")
    for line in trouble or [f"{place.head} agrees"]:
        console.print(line, style="bold red" if trouble else "")
    console.print()


def _table(runs: list[RunSummary]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("run", "state", "reserved", "last heard of"):
        table.add_column(name)
    for name in ("rounds", "σ", "q", "ε spent", "ε planned", "δ"):
        table.add_column(name, justify="right")
    for run in runs:
        table.add_row(
            plain(run.run),
            run.state,
            date(run.first),
            date(run.last),
            f"{run.rounds} of {run.planned_rounds}",
            number(run.noise_multiplier),
            number(run.sampling_rate),
            number(run.epsilon),
            number(run.planned_epsilon),
            number(run.delta),
        )
    return table


def _life(summary: Summary) -> list[str]:
    standing = summary.standing
    lines = [
        f"over its life, at δ = {standing.delta:g}",
        f"  ε = {number(standing.pld)} by PLD: what was charged, if all runs had been planned "
        "before the first began",
        f"  ε = {number(standing.rdp)} by Rényi DP{_at(standing.order)}: what was charged, "
        "whatever later runs made of earlier ones",
    ]
    if math.isinf(standing.pld):
        return [*lines, "  noise could be predicted or there was none: these are test data"]
    if summary.lifetime_epsilon is None:
        return lines
    limit = f"  the limit is ε = {number(summary.lifetime_epsilon)}"
    if summary.budget is None or summary.room is None:
        return [*lines, f"{limit}; the first run may use all of it"]
    lines.append(
        f"{limit}: a divergence of {number(summary.budget)}{_at(standing.order)}, of which "
        f"{number(standing.committed)} are spent or reserved"
    )
    if summary.room == 0:
        return [*lines, "  nothing is left: no further run is admitted"]
    return [*lines, f"  left: about ε = {number(summary.room)} for one more run"]


def _at(order: int | None) -> str:
    return "" if order is None else f" of order {order}"


def number(value: float | None) -> str:
    """Write a figure with four digits; what is not there is a dash."""
    if value is None:
        return "–"
    return "∞" if math.isinf(value) else f"{value:.4g}"


def date(stamp: str) -> str:
    """Write a time to the minute."""
    return stamp[:16].replace("T", " ")


def plain(text: str) -> str:
    """Take out what could steer a terminal: a coordinator names the runs."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
