"""Memory of an update of a gigabyte: ``python -m benchmarks.large_update``.

A coordinator and one site as processes on loopback, all security on, with noise from the operating
system and a model of which a gigabyte trains, in eight weights. Both ends go the way of a deployed
run: the site admits, charges, trains, stores its reply in its ledger and sends it; the coordinator
sends weights, takes the reply, combines and writes a checkpoint. Two rounds, so that the second
finds what the first has left. The gradients are of an empty Poisson sample: what the gradients of
a batch need is a matter of training. Each end holds its model in memory, as in a deployed run.

It fails where an end needs more than four times the update.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.large_update_ends import RUN, SITE, mean_of
from benchmarks.report import print_json
from tacit.errors import ExitCode, TacitError

LIMIT: Final = 4.0
"""Most memory of an end, in sizes of the update."""
PATIENCE: Final = 1200.0


def measure(folder: Path, size: int, weights: int) -> tuple[dict[str, float], list[float]]:
    """Return the peak memory of both ends in bytes, and the seconds of each round."""
    _run(folder, "server.provision", "init", "trial", "--site", SITE, "--name", "localhost")
    options = (str(size), str(weights))
    server = _start(folder, "coordinator", "server", *options)
    site: subprocess.Popen[bytes] | None = None
    try:
        port = _port(folder, server)
        site = _start(folder, "site", "site", *options, port)
        peaks = {"coordinator": _peak_at_end(folder, "coordinator", server)}
        site.send_signal(signal.SIGTERM)
        peaks["site"] = _peak_at_end(folder, "site", site)
    finally:
        for process in (server, site):
            if process is not None and process.returncode is None:
                process.kill()
                process.wait()
    lines = (folder / RUN / "history.jsonl").read_text().splitlines()
    _check(folder)
    return peaks, [json.loads(line)["seconds"] for line in lines]


def _check(folder: Path) -> None:
    """See that what was combined is what the site's noise makes of zeros."""
    spread = mean_of(folder)
    if not 0.9 < spread < 1.1:
        raise TacitError(f"the weights after two rounds spread by {spread:g} and not by 1")


def _run(folder: Path, module: str, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", module, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )


def _start(folder: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XDG_STATE_HOME": str(folder / "state")}
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.large_update_ends", *words],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _port(folder: Path, server: subprocess.Popen[bytes]) -> str:
    """Wait until the coordinator listens; return where."""
    log = folder / "coordinator.log"
    until = time.monotonic() + PATIENCE
    while not (found := re.search(r"sites at port (\d+)", log.read_text())):
        if server.poll() is not None or time.monotonic() > until:
            raise TacitError(f"the coordinator did not start:\n{log.read_text()}")
        time.sleep(0.05)
    return found[1]


def _peak_at_end(folder: Path, name: str, process: subprocess.Popen[bytes]) -> float:
    """Wait for a process's end; return the most memory that it had."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (ExitCode.DONE, ExitCode.TERMINATED):
        raise TacitError(
            f"{name} ended with {process.returncode}:\n{(folder / f'{name}.log').read_text()}"
        )
    return usage.ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)


def main() -> int:
    """Print a table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the update")
    parser.add_argument("--weights", type=int, default=8, help="in how many weights")
    asked = parser.parse_args()
    size = asked.megabytes * 10**6
    with tempfile.TemporaryDirectory() as folder:
        peaks, seconds = measure(Path(folder), size, asked.weights)
    table = Table(title=f"an update of {asked.megabytes} MB in {asked.weights} weights")
    for heading in ("", "peak memory", "sizes of the update"):
        table.add_column(heading, justify="right")
    for end, peak in peaks.items():
        table.add_row(end, f"{peak / 1e9:.2f} GB", f"{peak / size:.2f}")
    console = Console()
    console.print(table)
    console.print("seconds of the rounds: " + ", ".join(f"{each:.1f}" for each in seconds))
    print_json(
        "large_update",
        {
            "update_gigabytes": size / 1e9,
            **{f"{end}_peak_gigabytes": peak / 1e9 for end, peak in peaks.items()},
            "seconds_first_round": seconds[0],
            "seconds_second_round": seconds[-1],
        },
    )
    return ExitCode.FAULT if max(peaks.values()) > LIMIT * size else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
