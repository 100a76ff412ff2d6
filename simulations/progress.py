"""What a person sees while a simulation works, and the tables at its end."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from tacit.runs.evaluation import ALL
from tacit.runs.guarantee import format_epsilon
from tacit.runs.many import (
    LISTED,
    SPREAD,
    Spread,
    alike_in_words,
    count_of,
    rows_of,
    spenders_of,
    spread,
)
from tacit.runs.results import Results, Round
from tacit.runs.summary import (
    LOSS_ON,
    learns_nothing,
    out_of_scope_in_words,
    useless_in_words,
)
from tacit.runs.sweep import SweepRow
from tacit.runs.terminal import (
    SPENDING,
    closing,
    plain_table,
    plainly,
    rows_of_spread,
    say,
    spending_cells,
    spending_spread,
)

LINES: Final = 10
"""Lines that a part of the work leaves in a file, at most."""
NAMED: Final = 3
"""Sites that a line names, at most."""


class _TwoLines(Progress):
    """A bar, and below it what has been reached: both fit into 80 columns."""

    reached = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.reached:
            yield Text(f"  {self.reached}", no_wrap=True, overflow="ellipsis")


class LiveProgress:
    """Round, loss, ε and time left: a bar; on a dumb terminal or in a file, plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal and not console.is_dumb_terminal
        self._progress = _TwoLines(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            expand=True,
            transient=True,
            disable=not self._live,
        )
        self._title = ""
        self._task = self._progress.add_task("", total=None, visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Write one line."""
        say(self._console, text)

    def step(self, title: str, done: int, total: int, shown: str = "") -> None:
        """Show how far a part of the work is; what it reached in the end stays on the screen."""
        if title != self._title:
            self._title = title
            self._progress.reset(self._task, total=total, description=title, visible=True)
        self._progress.reached = shown
        self._progress.update(self._task, completed=done)
        if self._live and shown and done == total:
            self.say(f"{title} {done}/{total}  {shown}")
            self._progress.reached = ""
        elif not self._live and (done == total or (shown and done % -(-total // LINES) == 0)):
            self.say(f"{title} {done}/{total}  {shown}  {self._left()}".rstrip())

    def round(self, line: Round, rounds: int, budget: float | None) -> None:
        """Show a round of the run itself."""
        parts = []
        if line.loss is not None:
            parts.append(f"loss {line.loss:.3f} on {LOSS_ON.get(line.loss_on or '', line.loss_on)}")
        if line.epsilon and budget is not None:
            spent = max(line.epsilon.values())
            parts.append(f"ε {format_epsilon(spent)} of {format_epsilon(budget)}")
        if 0 < len(line.failed) <= NAMED:
            parts.append("missing: " + ", ".join(f"{s} ({r})" for s, r in line.failed.items()))
        elif line.failed:
            parts.append(f"missing: {len(line.failed):,} sites")
        self.step("round", line.round, rounds, "  ".join(parts))

    def _left(self) -> str:
        (task,) = self._progress.tasks
        seconds = task.time_remaining
        return f"{seconds:.0f} s left" if seconds else ""


def final_table(results: Results, report: Path, console: Console) -> None:
    """Print a row for each site, what was measured beside the run, and where the report is.

    Of very many sites the worst have a row, or what they share has one.
    """
    found = results.evaluation
    guarantee = results.privacy.guarantees[0] if results.privacy else None
    nothing = learns_nothing(results)
    baseline = nothing.name.removesuffix(" class") if nothing else "–"
    where = "held-out rows (simulation only)" if results.simulation else "public rows"
    table = plain_table("site", "test rows", found.metric, baseline, *SPENDING)
    for site in rows_of(found):
        table.add_row(
            site,
            str(results.test_records[site]),
            _figure(found.value(site)),
            _figure(nothing.evaluation.value(site) if nothing else None),
            *spending_cells(guarantee.sites.get(site) if guarantee else None),
        )
    if count_of(results) > LISTED:
        table.add_section()
        for cells in _rows_of_many(results):
            table.add_row(*cells)
    table.add_section()
    table.add_row(
        "mean of sites",
        "",
        _figure(found.mean_of_sites),
        _figure(nothing.evaluation.mean_of_sites if nothing else None),
    )
    alike = alike_in_words(results)
    if found.worst_site and found.gap is not None and alike is None:
        table.add_row(f"worst: {found.worst_site.site}", "", _figure(found.worst_site.value))
        table.add_row("gap to the best", "", _figure(found.gap))
    say(console, f"\n{results.domain.title}: {found.metric} on {where}")
    console.print(table)
    for sentence in (alike, useless_in_words(results), out_of_scope_in_words(results)):
        if sentence is not None:
            say(console, sentence)
    if results.comparison:
        say(console, "Beside it, mean of sites:")
    for row in results.comparison:
        marked = "" if row.epsilon is not None else " (no privacy guarantee)"
        say(console, f"  {_figure(row.evaluation.mean_of_sites)}  {row.title}{marked}")
    if guarantee is None:
        say(console, "\nNo privacy guarantee: this run was made without privacy.")
    elif results.privacy and results.privacy.simulated_noise:
        say(
            console,
            f"\nε is per {results.domain.explained(guarantee.unit)} at δ = {guarantee.delta:g}, "
            "as a deployment of this plan would have it. The noise of this simulation follows a "
            "seed: its weights are not private.",
        )
    elif results.comparison:
        say(
            console,
            "\nThe ε above is of this run's model. The baselines beside it were trained on the "
            "same records, with an ε of their own or none.",
        )
    closing(results, report, console)


def _rows_of_many(results: Results) -> list[tuple[str, ...]]:
    """Return how the figures of very many sites spread: one row where all are alike."""
    found = results.evaluation
    guarantee = results.privacy.guarantees[0] if results.privacy else None
    nothing = learns_nothing(results)
    # Without sites of their own all have the figure of all together.
    values = spread([found.value(site) for site in found.sites] or [found.pooled])
    base = spread(nothing.evaluation.value(site) for site in found.sites) if nothing else None
    spent = spending_spread(guarantee.sites.values() if guarantee else ())
    rows = str(results.test_records.get(ALL, ""))
    cells = zip(_cells(values), _cells(base), spent, strict=True)
    count, took = count_of(results), spenders_of(results)
    title = f"{count:,} sites" if took == count else f"{took:,} of {count:,} sites"
    return rows_of_spread(title, [(rows, own, other, *cost) for own, other, cost in cells])


def _cells(of: Spread | None) -> list[str]:
    return [_figure(value) for value in (astuple(of) if of else (None,) * len(SPREAD))]


def sweep_table(rows: Sequence[SweepRow], page: Path, console: Console) -> None:
    """Print a row for each job of a sweep, and where its page is."""
    metrics = sorted({row.results.evaluation.metric for row in rows if row.results})
    table = plain_table("job", "ε", f"{', '.join(metrics) or 'metric'}, mean of sites", "ended")
    for row in rows:
        table.add_row(
            f"{row.job}  {' '.join(row.overrides)}",
            "–" if row.epsilon is None else format_epsilon(row.epsilon),
            _figure(row.results.evaluation.mean_of_sites if row.results else None),
            row.ended,
        )
    console.print(table)
    plainly(console, f"sweep: {page}")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
