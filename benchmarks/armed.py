"""A command in which faults wait: ``python -m benchmarks.armed FOLDER MODULE WORD...``.

Runs ``python -m MODULE WORD...`` in this process, with functions wrapped so that a fault can
strike at an exact point. A fault is a file of FOLDER that somebody puts there:

POINT.kill   the process kills itself when it is next at that point; the file is gone by then
POINT.hang   it waits there for as long as the file exists
POINT.full   the disk is full there for as long as the file exists
clock        the clock is ahead by the number of seconds in the file, while it exists
again        a message is answered twice before the next reply leaves; the file is gone by then

What struck is written to FOLDER/struck. What leaves a site is written to FOLDER/left before it
leaves, a line each: SHA-256 of what the ledger was given to keep, and of the weights of the reply.
"""

import errno
import os
import runpy
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, Final

LOOK: Final = 0.02


@dataclass(frozen=True, slots=True)
class Point:
    """Where a fault can strike: before a function's work, or after it.

    Parameters
    ----------
    owner, name
        Module, and name in it, of the function.
    after
        Whether its work is done by then.
    concerns
        Tells from its arguments whether a call is at this point.
    """

    owner: str
    name: str
    after: bool = False
    concerns: Callable[..., bool] = lambda *arguments: True


def _with_weights(connection: Any, reply: Any) -> bool:
    return not reply.has_error() and bool(reply.content.array_records)


SERVER: Final = {
    "beginning": Point("server.deployment", "save_checkpoint", after=True),
    "planned": Point("server.deployment", "write_plan"),
    "asked": Point("server.superlink", "Mailbox.post", after=True),
    "before aggregation": Point("strategies.mean", "FedAvg.aggregate_train"),
    "during aggregation": Point("strategies.mean", "_weighted_sum", after=True),
    "after aggregation": Point("strategies.mean", "FedAvg.aggregate_train", after=True),
    "history": Point("tacit.runs.directory", "RunDirectory.append"),
    "checkpoint": Point("server.checkpoint", "replace_file"),
    "checkpoint kept": Point("server.deployed_rounds", "save_checkpoint", after=True),
    "last round done": Point("server.joining", "Joining.end"),
    "results": Point("server.deployment", "write", after=True),
}
"""Points of the coordinator."""

SITE: Final = {
    "reservation": Point("tacit.privacy.ledger", "Ledger.reserve"),
    "reserved": Point("tacit.privacy.ledger", "Ledger.reserve", after=True),
    "before the charge": Point("tacit.privacy.ledger", "Ledger.charge"),
    "charged": Point("tacit.privacy.ledger", "Ledger.charge", after=True),
    "during training": Point("tacit.learning.local", "clipped_sum", after=True),
    "trained": Point("client.task", "train_round", after=True),
    "reply kept": Point("tacit.privacy.ledger", "Ledger.store_reply", after=True),
    "before its reply": Point("client.connection", "Connection.send", concerns=_with_weights),
    "during its reply": Point("flwr.supernode.fleet_http_client", "FleetHttpClient.PushObject"),
    "after its reply": Point(
        "client.connection", "Connection.send", after=True, concerns=_with_weights
    ),
    "ledger's row": Point("tacit.privacy.chain", "Chain.append"),
    "ledger's reply": Point("tacit.privacy.chain", "Chain.keep_reply"),
    "ledger's head": Point("tacit.privacy.chain", "write_head"),
}
"""Points of a site."""

POINTS: Final = {"server.command": SERVER, "client.command": SITE}


class Faults:
    """The faults that wait in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def strike(self, point: str) -> None:
        """Let happen what waits at a point."""
        if self._waits(f"{point}.kill"):
            self._take(f"{point}.kill")
            os.kill(os.getpid(), signal.SIGKILL)
        if self._waits(f"{point}.hang"):
            self._say(f"{point}.hang")
            while self._waits(f"{point}.hang"):
                time.sleep(LOOK)
        if self._waits(f"{point}.full"):
            self._say(f"{point}.full")
            raise _full(point)

    def ahead(self) -> float:
        """Return by how many seconds the clock is ahead."""
        try:
            return float((self.folder / "clock").read_text())
        except FileNotFoundError:
            return 0.0

    def again(self) -> bool:
        """Tell whether a message is to come twice."""
        return self._waits("again") and self._take("again")

    def left(self, line: str) -> None:
        """Write down what leaves."""
        _append(self.folder / "left", line)

    def _waits(self, name: str) -> bool:
        return (self.folder / name).exists()

    def _take(self, name: str) -> bool:
        (self.folder / name).unlink()
        self._say(name)
        return True

    def _say(self, name: str) -> None:
        _append(self.folder / "struck", name)


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def _full(point: str) -> Exception:
    if point in ("ledger's row", "ledger's reply"):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        return error
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _wrap(owner: str, name: str, around: Callable[[Callable[..., Any]], Any]) -> None:
    """Put something around a function, where others find it."""
    holder: Any = import_module(owner)
    *outer, last = name.split(".")
    for each in outer:
        holder = getattr(holder, each)
    honest = getattr(holder, last)
    setattr(holder, last, wraps(honest)(around(honest)))


def _arm(faults: Faults, name: str, point: Point) -> None:
    def around(honest: Callable[..., Any]) -> Callable[..., Any]:
        def armed(*arguments: Any, **named: Any) -> Any:
            here = point.concerns(*arguments)
            if here and not point.after:
                faults.strike(name)
            found = honest(*arguments, **named)
            if here and point.after:
                faults.strike(name)
            return found

        return armed

    _wrap(point.owner, point.name, around)


CLOCKS: Final = {
    "server.command": (
        "flwr.server.superlink.linkstate.in_memory_linkstate",
        "flwr.superlink.routers.fleet.node_auth",
    ),
    "client.command": ("flwr.supernode.node_auth_http_interceptor",),
}
"""Where each command looks at the time of day for others to check."""


def _set_clocks(faults: Faults, command: str) -> None:
    seconds = time.time
    time.time = lambda: seconds() + faults.ahead()
    for owner in CLOCKS[command]:
        _wrap(owner, "now", lambda now: lambda: now() + timedelta(seconds=faults.ahead()))


def _write_down(faults: Faults) -> None:
    """Write down every reply with weights where it is built and where it leaves."""
    from strategies.records import from_record
    from tacit.messages import ARRAYS
    from tacit.models.trainable import sha256_of
    from tacit.privacy.ledger_view import reply_sha256

    kept: dict[str, str] = {}

    def digest(message: Any) -> str:
        return sha256_of(from_record(message.content.array_records[ARRAYS]))

    def building(honest: Callable[..., Any]) -> Callable[..., Any]:
        def replay(message: Any, packed: Sequence[bytes]) -> Any:
            reply = honest(message, packed)
            kept[digest(reply)] = reply_sha256(packed)
            return reply

        return replay

    def leaving(honest: Callable[..., Any]) -> Callable[..., Any]:
        def send(connection: Any, reply: Any) -> None:
            if _with_weights(connection, reply):
                weights = digest(reply)
                faults.left(f"{kept.get(weights, 'no ledger')} {weights}")
            honest(connection, reply)

        return send

    _wrap("client.door", "replay", building)
    _wrap("client.connection", "Connection.send", leaving)


def _answer_twice(faults: Faults) -> None:
    """Let the site answer the same message twice, as if it had come twice."""

    def around(honest: Callable[..., Any]) -> Callable[..., Any]:
        def train(site: Any, message: Any) -> Any:
            reply = honest(site, message)
            if faults.again():
                # What the second message says is what the first did.
                return honest(site, message)
            return reply

        return train

    _wrap("client.app", "_train", around)


def main() -> None:
    """Arm a command and run it."""
    folder, command, *words = sys.argv[1:]
    faults = Faults(Path(folder))
    faults.folder.mkdir(parents=True, exist_ok=True)
    if command == "client.command":
        _write_down(faults)
        _answer_twice(faults)
    for name, point in POINTS[command].items():
        _arm(faults, name, point)
    _set_clocks(faults, command)
    sys.argv = [command, *words]
    runpy.run_module(command, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
