"""How a status looks: a screen that is redrawn, or one line for a file."""

import math
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from textwrap import wrap
from typing import Final

from rich import box
from rich.console import ConsoleDimensions, Group, RenderableType
from rich.constrain import Constrain
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from server.status import Phase, Presence, SiteStatus, Status, printable

WIDTH: Final = 96
"""Columns at most: wider lines are harder to follow."""
_WIDE: Final = 76
"""Columns that the whole table of sites needs."""
_AROUND: Final = 14
"""Lines of a screen that are not sites."""
_STATE: Final = 18
"""Columns of a site's state; a reason that is longer goes on in the next line."""
_QUIET: Final = "bright_black"
_PHASES: Final = {
    Phase.WAITING: "yellow",
    Phase.RESERVING: "yellow",
    Phase.TRAINING: "cyan",
    Phase.FINISHED: "green",
    Phase.FAILED: "red",
    Phase.CALLED_OFF: "yellow",
}
_STATES: Final = {
    Presence.PRESENT: ("●", "green"),
    Presence.MISSING: ("○", "yellow"),
    Presence.REFUSED: ("×", "red"),
}


def screen(
    status: Status, address: str, *, age: float, size: ConsoleDimensions, notice: str
) -> RenderableType:
    """Draw a status.

    Parameters
    ----------
    status
        What is drawn.
    address
        Where it came from.
    age
        Seconds since it came.
    size
        Columns and lines that there are. Where the sites do not fit, those that are present are
        left out first; where the columns do not, when a site was seen and its size.
    notice
        What is wrong with the connection; empty if nothing is.
    """
    parts: list[RenderableType] = [
        _heading(status, address),
        "",
        _progress(status),
        "",
        _sites(status, age, size),
        "",
    ]
    if status.metrics:
        parts += [_metrics(status), ""]
    parts.append(_origin(status, age))
    if notice:
        parts += ["", Text(notice, "yellow")]
    return Constrain(Group(*parts), WIDTH)


def line(status: Status) -> str:
    """Say a status in one line."""
    parts = [printable(status.experiment), str(status.phase)]
    if status.rounds:
        parts.append(f"round {status.round}/{status.rounds}")
    present = [site for site in status.sites if site.state is Presence.PRESENT]
    parts.append(f"{len(present)}/{len(status.sites)} sites")
    for state in (Presence.MISSING, Presence.REFUSED):
        if found := [site for site in status.sites if site.state is state]:
            parts.append(f"{state}: " + ", ".join(_with_reason(site) for site in found))
    if spent := [site for site in status.sites if site.epsilon is not None]:
        most = max(spent, key=lambda site: site.epsilon or 0)
        parts.append(f"ε {_epsilon(most)}")
    parts += [f"{printable(name)} {_figure(value)}" for name, value in status.metrics.items()]
    if status.seconds_left and not status.phase.over:
        parts.append(f"{_about(status.seconds_left)} left")
    return "  ".join(parts)


def span(seconds: float, units: int = 2) -> str:
    """Say a length of time as a person would, in its one or two largest units."""
    left = max(0, round(seconds))
    parts = []
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size} {name}")
            left %= size
        elif parts:
            break
    return " ".join(parts[:units]) or "0 s"


def _about(seconds: float) -> str:
    """Say an estimate, which is never good to the second."""
    return span(60 * round(seconds / 60) if seconds > 90 else seconds)


def _heading(status: Status, address: str) -> Table:
    row = Table.grid(expand=True)
    row.add_column(ratio=1, no_wrap=True)
    row.add_column(justify="right", no_wrap=True)
    name = Text.assemble(
        (printable(status.experiment), "bold"), "  ", (str(status.phase), _PHASES[status.phase])
    )
    row.add_row(name, Text(address, _QUIET))
    return row


def _progress(status: Status) -> Table:
    row = Table.grid(expand=True, padding=(0, 2, 0, 0))
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    row.add_row(
        Text(f"round {status.round} of {status.rounds}"),
        _bar(status.round, status.rounds, None),
        Text(_timing(status), _QUIET),
    )
    return row


def _timing(status: Status) -> str:
    if status.seconds_per_round is None:
        return ""
    pace = f"{status.seconds_per_round:.3g} s a round"
    if status.phase.over or status.seconds_left is None:
        return pace
    return f"{_about(status.seconds_left)} left, {pace}"


def _sites(status: Status, age: float, size: ConsoleDimensions) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        expand=True,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style=_QUIET,
        border_style=_QUIET,
    )
    table.add_column("site", no_wrap=True, ratio=1, min_width=8)
    table.add_column("state", width=_STATE)
    wide = size.width >= _WIDE
    for heading in ("rounds", "seen", "size") if wide else ("rounds",):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("  ε of its budget", no_wrap=True, min_width=21)
    shown = _that_fit(status.sites, max(3, size.height - _AROUND))
    for site in shown:
        mark, style = _STATES[site.state]
        table.add_row(
            Text.assemble((mark, style), f" {printable(site.name)}"),
            _state(site),
            str(site.replied),
            *(_seen_and_size(site, status.written + age) if wide else ()),
            _budget(site),
        )
    if hidden := len(status.sites) - len(shown):
        table.add_row(Text(f"  and {hidden} more", _QUIET))
    return table


def _seen_and_size(site: SiteStatus, now: float) -> tuple[str, str]:
    return (
        "–" if site.last_seen is None else span(now - site.last_seen, 1),
        "–" if site.declared_size is None else str(site.declared_size),
    )


def _that_fit(sites: Sequence[SiteStatus], room: int) -> Sequence[SiteStatus]:
    """Choose the sites for which there is room: first those that are not present."""
    if sum(_lines(site) for site in sites) <= room:
        return sites
    # Sorting keeps the order otherwise.
    ordered = sorted(sites, key=lambda site: site.state is Presence.PRESENT)
    ends = accumulate(_lines(site) for site in ordered)
    return [site for site, end in zip(ordered, ends, strict=True) if end < room]


def _lines(site: SiteStatus) -> int:
    return 1 + len(wrap(_reason(site), _STATE))


def _state(site: SiteStatus) -> Text:
    reason = [Text(part, _QUIET) for part in wrap(_reason(site), _STATE)]
    return Text("\n").join([Text(site.state), *reason])


def _reason(site: SiteStatus) -> str:
    return (site.reason or "").replace("_", " ")


def _budget(site: SiteStatus) -> RenderableType:
    if site.epsilon is None or site.epsilon_budget is None:
        return "  –"
    if math.isinf(site.epsilon_budget):
        return "  ∞"
    row = Table.grid(padding=(0, 0, 0, 1))
    spent = Text(_epsilon(site), justify="right")
    row.add_row("", _bar(site.epsilon, site.epsilon_budget, 6), spent)
    return row


def _bar(done: float, whole: float, width: int | None) -> ProgressBar:
    return ProgressBar(
        total=whole or 1,
        completed=done,
        width=width,
        style=_QUIET,
        complete_style="cyan",
        finished_style="cyan",
    )


def _metrics(status: Status) -> Text:
    parts = [Text("on public data", _QUIET)]
    for name, value in status.metrics.items():
        parts.append(Text.assemble((f"{printable(name)} ", _QUIET), (_figure(value), "bold")))
    return Text("   ").join(parts)


def _origin(status: Status, age: float) -> Text:
    started = datetime.fromtimestamp(status.started).astimezone()
    since = _about(status.written + age - status.started)
    return Text(
        f"run {printable(status.run)}   started {started:%d %b %H:%M}, {since} ago   "
        f"Tacit {printable(status.version)}",
        _QUIET,
    )


def _with_reason(site: SiteStatus) -> str:
    return f"{printable(site.name)} ({site.reason})" if site.reason else printable(site.name)


def _epsilon(site: SiteStatus) -> str:
    spent = _rounded_up(site.epsilon or 0)
    whole = site.epsilon_budget
    return spent if whole is None else f"{spent} of {_rounded_up(whole)}"


def _rounded_up(epsilon: float) -> str:
    """ε with two decimals: a printed ε is never below the true one.

    Not `tacit.runs.guarantee.format_epsilon`, with which torch would come: a second and a half.
    """
    if math.isinf(epsilon):
        return "∞"
    # 1e-9 forgives binary fractions: 0.29 is 0.28999… times 100.
    return f"{math.ceil(epsilon * 100 - 1e-9) / 100:.2f}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
