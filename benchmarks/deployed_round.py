"""Seconds of a deployed round: ``python -m benchmarks.deployed_round``.

A coordinator and two sites as processes on loopback, with TLS, node authentication, ledgers on disk
and noise from the operating system; one step on four rows a round, so that what is measured is what
a round costs beside training. Beside it, in the same run, the same experiment on stock Flower: a
SuperLink, two SuperNodes and ``flwr run``, without TLS or authentication. A round's seconds are the
median after the first, from results.json.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.report import print_json
from tacit.errors import TacitError

SITES: Final = ("county", "referral")
SIZES: Final = {"1k": (64, 499), "1m": (4, 499_999)}
"""Hidden width and width before the head: a head of 1,000 and of 1,000,000 parameters."""
PATIENCE: Final = 600.0
ROOT: Final = Path(__file__).parents[1]


def words(size: str, rounds: int) -> list[str]:
    """Return the experiment's words."""
    hidden, embedding = SIZES[size]
    return [
        "domain=hospitals",
        "model.pretraining=null",
        f"model.architecture.hidden={hidden}",
        f"model.architecture.embedding={embedding}",
        f"training.rounds={rounds}",
        "training.batch_size=4",
    ]


class Processes:
    """Processes that work in one folder and are stopped together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self.environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "XDG_STATE_HOME": str(folder / "state"),
            "FLWR_HOME": str(folder / "flower"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own, its output in a file."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def run(self, *command: str) -> str:
        """Run a command to its end."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            raise TacitError(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def until(self, done: Callable[[], bool]) -> None:
        """Look again and again; whatever has failed meanwhile ends the benchmark."""
        limit = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > limit or any(p.poll() for p in self._started):
                raise TacitError(f"it did not come to its end:\n{self.logs()}")
            time.sleep(0.1)

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        """Stop everything that was started, and what that has started."""
        for process in reversed(self._started):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def processes() -> Iterator[Processes]:
    """Give a folder and processes for it."""
    with tempfile.TemporaryDirectory() as folder:
        running = Processes(Path(folder))
        try:
            yield running
        finally:
            running.stop()


def ours(size: str, rounds: int) -> float:
    """Measure a round of tacit-server and two of tacit-client."""
    with processes() as running:
        sites = [word for site in SITES for word in ("--site", site)]
        running.run("tacit-provision", "init", "trial", *sites, "--name", "localhost")
        experiment = words(size, rounds)
        server = running.start(
            "server",
            "tacit-server",
            "server.bundle=trial/server",
            "server.host=127.0.0.1",
            "server.port=0",
            "server.watch_port=0",
            "run.dir=run",
            "compare=false",
            *experiment,
        )
        log = running.folder / "server.log"
        running.until(lambda: b"sites at port" in log.read_bytes())
        (port,) = re.findall(r"sites at port (\d+)", log.read_text())
        for site in SITES:
            path = running.folder / "trial" / "sites" / site / "site.yaml"
            text = path.read_text().replace(":9443", f":{port}")
            path.write_text(
                text.replace("[domain=hospitals]", json.dumps(experiment)).replace(
                    "least_noise_multiplier: 1.0", "least_noise_multiplier: 0.0"
                )
            )
            running.start(site, "tacit-client", f"site={path}")
        running.until(lambda: server.poll() == 0)
        return seconds_of(running.folder / "run")


def stock(size: str, rounds: int) -> float:
    """Measure a round of the same experiment on a stock SuperLink with two SuperNodes."""
    with processes() as running:
        port = free_port()
        home = running.folder / "flower"
        home.mkdir()
        (home / "config.toml").write_text(
            '[superlink]\ndefault = "here"\n[superlink.here]\n'
            f'address = "127.0.0.1:{port}"\ninsecure = true\n'
        )
        running.start(
            "superlink",
            "flower-superlink",
            "--insecure",
            "--disable-runtime-dependency-installation",
            "--host=127.0.0.1",
            f"--port={port}",
        )
        running.until(lambda: answers(port))
        for site in SITES:
            running.start(
                f"node-{site}",
                "flower-supernode",
                "--insecure",
                f"--superlink=127.0.0.1:{port}",
                f"--port={free_port()}",
                f'--node-config=site="{site}"',
            )
        settings = " ".join(
            [*words(size, rounds), "compare=false", f"run.dir={running.folder}/run"]
        )
        running.run("flwr", "run", str(ROOT), "here", "-c", f"nodes=2 settings='{settings}'")
        running.until(lambda: (running.folder / "run" / "report.html").exists())
        return seconds_of(running.folder / "run")


def seconds_of(run: Path) -> float:
    """Return the median seconds of a run's rounds after the first."""
    return float(json.loads((run / "results.json").read_text())["timing"]["seconds_per_round"])


def answers(port: int) -> bool:
    """Tell whether a SuperLink answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as found:
            return bool(found.status == 200)
    except OSError:
        return False


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def main() -> None:
    """Print a table of seconds a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--stock-rounds", type=int, default=4)
    asked = parser.parse_args()
    figures = {f"seconds_per_round_{size}": ours(size, asked.rounds) for size in SIZES}
    beside = stock("1k", asked.stock_rounds)
    table = Table(title="seconds a round, two sites on loopback")
    for heading in ("", "1,000 parameters", "1,000,000 parameters"):
        table.add_column(heading, justify="right")
    table.add_row("tacit-server, tacit-client", *(f"{value:.2f}" for value in figures.values()))
    table.add_row("stock Flower", f"{beside:.2f}", "–")
    Console().print(table)
    print_json(
        "deployed_round",
        {**figures, "stock_seconds_per_round_1k": beside},
        {"stock_over_ours": beside / figures["seconds_per_round_1k"]},
    )


if __name__ == "__main__":
    main()
