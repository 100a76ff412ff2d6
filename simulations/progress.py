"""What a person sees while a simulation works, and the table at its end."""

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tacit.runs.guarantee import format_epsilon
from tacit.runs.results import Results, Round

MAJORITY = "majority_class"
LOSS_ON = {"held_out (simulation only)": "held-out rows, simulation only"}


class LiveProgress:
    """A bar with round, loss, ε and time left; on a dumb terminal or in a file, plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not self._live,
        )
        self._task = self._progress.add_task("run", total=None, shown="", visible=False)

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
        self._console.print(text, highlight=False)

    def step(self, title: str, done: int, total: int, shown: str = "") -> None:
        """Show how far a part of the work is."""
        self._progress.update(
            self._task, description=title, completed=done, total=total, shown=shown, visible=True
        )
        if not self._live and (done in (1, total) or done % max(1, total // 5) == 0):
            self.say(f"{title} {done}/{total}  {shown}".rstrip())

    def round(self, line: Round, rounds: int, budget: float | None) -> None:
        """Show a round of the run itself."""
        parts = []
        if line.loss is not None:
            parts.append(f"loss {line.loss:.3f} on {LOSS_ON.get(line.loss_on or '', line.loss_on)}")
        if line.epsilon and budget is not None:
            spent = max(line.epsilon.values())
            parts.append(f"ε {format_epsilon(spent)} of {format_epsilon(budget)}")
        if line.failed:
            parts.append("missing: " + ", ".join(f"{s} ({r})" for s, r in line.failed.items()))
        self.step("round", line.round, rounds, "  ".join(parts))


def final_table(results: Results, report: Path, console: Console) -> None:
    """Print a row for each site and where the report is."""
    found = results.evaluation
    guarantee = results.privacy.guarantees[0] if results.privacy else None
    majority = results.baselines.get(MAJORITY)
    table = Table(title=f"{results.domain.title}: {found.metric}, simulation only")
    table.add_column("site")
    for heading in ("test records", found.metric, "majority class", "ε", "budget", "σ", "steps"):
        table.add_column(heading, justify="right")
    for site in found.sites:
        spending = guarantee.sites[site] if guarantee else None
        table.add_row(
            site,
            str(results.test_records[site]),
            _figure(found.value(site)),
            _figure(majority.value(site) if majority else None),
            format_epsilon(spending.epsilon) if spending else "∞",
            format_epsilon(spending.epsilon_budget) if spending else "–",
            f"{spending.noise_multiplier:.4g}" if spending else "–",
            str(spending.steps) if spending else "–",
        )
    table.add_section()
    table.add_row(
        "mean of sites",
        str(sum(results.test_records.values())),
        _figure(found.mean_of_sites),
        _figure(majority.mean_of_sites if majority else None),
    )
    console.print(table)
    for row in results.comparison:
        marked = "" if row.epsilon is not None else " (no privacy guarantee)"
        console.print(f"  {_figure(row.evaluation.mean_of_sites)}  {row.title}{marked}")
    if guarantee is None:
        console.print("No privacy guarantee: this run was made without privacy.")
    elif results.privacy and results.privacy.simulated_noise:
        console.print(
            f"ε at δ = {guarantee.delta:g} per {guarantee.unit.value}, as a deployment of this "
            "plan would have it; this simulation's noise follows a seed, so these weights are "
            "not private."
        )
    for note in results.notes:
        console.print(f"note: {note}")
    # No wrapping and no markup: the path must survive copying.
    console.print(f"report: {report}", soft_wrap=True, markup=False, highlight=False)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
