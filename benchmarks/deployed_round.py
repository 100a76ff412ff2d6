"""Seconds of a deployed round: ``python -m benchmarks.deployed_round``.

A coordinator and two sites as processes on loopback, with TLS, node authentication, ledgers on disk
and noise from the operating system; one step on four rows a round, so that what is measured is what
a round costs beside training. Beside it, in the same run, the same experiment on stock Flower: a
SuperLink, two SuperNodes and ``flwr run``, without TLS or authentication. A round's seconds are the
median after the first, from results.json.
"""

import argparse
import json
import socket
import urllib.request
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.processes import ROOT, Deployment, Processes, scratch, stopped
from benchmarks.report import print_json
from tacit.errors import TacitError

SITES: Final = ("county", "referral")
SIZES: Final = {"1k": (64, 499), "1m": (4, 499_999)}
"""Hidden width and width before the head: a head of 1,000 and of 1,000,000 parameters."""
LONG: Final = 600.0


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


def ours(size: str, rounds: int) -> float:
    """Measure a round of tacit-server and two of tacit-client."""
    with scratch() as folder:
        running = Deployment(folder, SITES, experiment=words(size, rounds))
        with stopped(running):
            for site in SITES:
                running.edit(site, limits={"least_noise_multiplier": 0.0})
            running.start_server()
            for site in SITES:
                running.start_site(site)
            if running.end_of("server", LONG):
                raise TacitError(f"it did not come to its end:\n{running.logs()}")
        return seconds_of(running.run_dir)


def stock(size: str, rounds: int) -> float:
    """Measure a round of the same experiment on a stock SuperLink with two SuperNodes."""
    with scratch() as folder:
        running = Processes(folder)
        running.environment |= {
            "FLWR_HOME": str(folder / "flower"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }
        with stopped(running):
            _stock(running, size, rounds)
        return seconds_of(folder / "run")


def _stock(running: Processes, size: str, rounds: int) -> None:
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
    running.wait_for(lambda: answers(port), "superlink")
    nodes = [f"node-{site}" for site in SITES]
    for node, site in zip(nodes, SITES, strict=True):
        running.start(
            node,
            "flower-supernode",
            "--insecure",
            f"--superlink=127.0.0.1:{port}",
            f"--port={free_port()}",
            f'--node-config=site="{site}"',
        )
    settings = " ".join([*words(size, rounds), "compare=false", f"run.dir={running.folder}/run"])
    done = running.run("flwr", "run", str(ROOT), "here", "-c", f"nodes=2 settings='{settings}'")
    if done.returncode != 0:
        raise TacitError(f"flwr run failed: {done.stdout}{done.stderr}")
    report = running.folder / "run" / "report.html"
    running.wait_for(report.exists, "superlink", *nodes, patience=LONG)


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
