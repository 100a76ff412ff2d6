"""`tacit-watch ADDRESS`: what a coordinator's run is doing, live.

The folder of --bundle holds watch.key, watch.pem and ca.pem, which the coordinator hands out::

    tacit-watch coordinator.example.org:9093 --bundle watcher/
    tacit-watch localhost:9093 --json | jq .round
"""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from commands import entry
from commands.typed import Version, app_of, call
from tacit.errors import ExitCode, InputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from server.status import Status
    from server.watch_bundle import Bundle

EXITS = (
    "Ends with 0 when the run is finished (with --once always), 4 when it failed or was called "
    "off, 2 when nothing can be watched there from here, 130 after Ctrl-C."
)

app = app_of("tacit-watch")


def main() -> NoReturn:
    """Run the command and leave with its exit code."""
    entry.run(lambda: _main(sys.argv[1:]))


def _main(words: list[str]) -> int:
    return call(app, "tacit-watch", words)


@app.command(epilog=EXITS)
def watch(
    # Hidden is the list of arguments, which Typer would fill with an escaped "[required]" alone.
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", hidden=True)],
    bundle: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="Where watch.key, watch.pem and ca.pem are; the current folder unless given.",
        ),
    ] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print every status as JSON.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Print one status and end.")] = False,
    version: Version = False,
) -> int:
    """Watch a coordinator's run at HOST:PORT: rounds, sites, budgets and metrics, live.

    On a terminal the screen is redrawn; in a pipe every change is one line. When the coordinator
    goes away, this waits until it is back.
    """
    # What gRPC logs of itself is said below in a person's words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from rich.console import Console

    from server.watch_bundle import Bundle

    try:
        own = Bundle.read(bundle / "watch.pem", bundle / "watch.key", bundle / "ca.pem")
    except FileNotFoundError as error:
        raise InputError(
            f"there is no {error.filename}: --bundle names the folder with watch.key, watch.pem "
            "and ca.pem"
        ) from error
    console = Console(highlight=False)
    try:
        if once:
            return _show_once(console, address, own, json=json)
        if console.is_terminal and not console.is_dumb_terminal and not json:
            return _show_screen(console, address, own)
        return _show_lines(address, own, json=json)
    except BrokenPipeError:
        # Whoever read us has seen enough; Python must not write there again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE


def _show_once(console: "Console", address: str, bundle: "Bundle", *, json: bool) -> int:
    from server.watch_client import fetch
    from server.watch_screen import line, screen

    status = fetch(address, bundle)
    if json:
        print(status.to_json().decode(), flush=True)
    elif console.is_terminal:
        console.print(screen(status, address, age=0, size=console.size, notice=""))
    else:
        print(line(status), flush=True)
    return ExitCode.DONE


def _show_lines(address: str, bundle: "Bundle", *, json: bool) -> int:
    """Print a line for every status; without `json`, only where it says something new."""
    from server.watch_client import follow
    from server.watch_screen import line

    heard = last = ""

    def say(text: str) -> None:
        nonlocal heard
        if text != heard:
            print(text or f"{address}: connected again", file=sys.stderr, flush=True)
        heard = text

    for status in follow(address, bundle, say):
        said = status.to_json().decode() if json else line(status)
        if said != last:
            print(said, flush=True)
        last = said
    return _ended(status)


def _show_screen(console: "Console", address: str, bundle: "Bundle") -> int:
    from rich.live import Live
    from rich.text import Text

    from server.watch_client import follow
    from server.watch_screen import screen

    status: Status | None = None
    came = time.monotonic()
    notice = f"connecting to {address}"

    def draw() -> "RenderableType":
        if status is None:
            return Text(notice)
        age = 0.0 if status.phase.over else time.monotonic() - came
        return screen(status, address, age=age, size=console.size, notice=notice)

    def say(text: str) -> None:
        nonlocal notice
        notice = text

    with Live(get_renderable=draw, console=console, refresh_per_second=2) as live:
        for newest in follow(address, bundle, say):
            status, came, notice = newest, time.monotonic(), ""
            live.refresh()
    return _ended(newest)


def _ended(status: "Status") -> int:
    from server.status import Phase

    return ExitCode.DONE if status.phase is Phase.FINISHED else ExitCode.INCOMPLETE
