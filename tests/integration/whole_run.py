"""Whole simulations, started in this process or as one of their own, and what they leave."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import pytest
from rich.console import Console

import simulations.simulate
from commands import entry
from commands.compose import composed
from simulations import command
from simulations.progress import LiveProgress
from tacit.configuration import read_settings
from tacit.privacy.events import Relation, Unit
from tacit.privacy.ledger import Ledger

SITES = ["county", "referral", "screening", "university"]
ROUNDS = 4
SYSTEM = "privacy.noise_seed=system"


class Crash(BaseException):
    """The power is cut: nothing in the code can catch this and tidy up."""


def words(path, rounds=ROUNDS):
    """The words of a small new run."""
    return [
        "model=linear",
        "compare=false",
        f"training.rounds={rounds}",
        f"run.dir={path}",
    ]


def uninterrupted(path, rounds=ROUNDS, *more):
    """Run to the end in this process."""
    config = composed([*words(path, rounds), *more])
    with LiveProgress(Console(quiet=True)) as progress:
        simulations.simulate.simulate(read_settings(config), config, progress)
    return path


def stopped_after(number, given):
    """Call tacit-simulate in this process, and press Ctrl-C once a round has its checkpoint."""
    saved = simulations.simulate.save_checkpoint

    def stop(*arguments):
        saved(*arguments)
        if arguments[2].round == number:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(simulations.simulate, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            command._main(given)


def call(given, capsys):
    """Call tacit-simulate in this process; gives its exit code and what it said on stderr.

    The report, which takes seconds to draw, is left out.
    """
    before = signal.getsignal(signal.SIGTERM)
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(simulations.simulate, "write_report", lambda path: None)
        try:
            with pytest.raises(SystemExit) as left:
                entry.run(lambda: command._main(given))
        finally:
            signal.signal(signal.SIGTERM, before)
    return left.value.code, capsys.readouterr().err


def start(given, folder, before=()):
    """Start tacit-simulate as a process of its own."""
    return subprocess.Popen(
        [*before, sys.executable, "-P", "-m", "simulations.command", *given],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """Wait for a process; gives its exit code and what it said on stderr."""
    _, said = process.communicate()
    return process.returncode, said


def wait_for_round(process, path, number):
    """Wait until a line of history says that a round is done, while the process runs."""
    while lines(path) <= number:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.005)
            pytest.fail(f"ended with {end(process)} before round {number}")


def lines(path):
    try:
        return (path / "history.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def results(path):
    return json.loads((path / "results.json").read_text())


def rounds_of(path):
    """Rounds in the order of the history."""
    return [json.loads(line)["round"] for line in (path / "history.jsonl").read_text().splitlines()]


def ledger_of(path, site):
    return Ledger.open(
        path / "ledger" / f"{site}.sqlite",
        data_set=f"hospitals/{site}",
        unit=Unit.RECORD,
        relation=Relation.ADD_OR_REMOVE_ONE,
        delta=1e-4,
    )


def rows(path, site):
    """What a ledger says, once it is proven sound."""
    with ledger_of(path, site) as ledger:
        ledger.verify()
        return [json.loads(row.body) for row in ledger.rows()]


def rows_together(path):
    """What the ledger of sites that train together says."""
    with closing(sqlite3.connect(path / "ledger" / "sites.sqlite")) as database:
        return [json.loads(body) for (body,) in database.execute("SELECT body FROM rows")]


def charges(path, site):
    """A site's charges, whoever keeps its ledger."""
    if (path / "ledger" / "sites.sqlite").exists():
        return [
            row
            for row in rows_together(path)
            if row["kind"] == "charged-together/1" and site in row["sites"]
        ]
    return [row for row in rows(path, site) if row["kind"] == "charged/1"]


def epsilons(path):
    """ε spent and its budget, by site."""
    (guarantee,) = results(path)["privacy"]["guarantees"]
    return {s: (each["epsilon"], each["epsilon_budget"]) for s, each in guarantee["sites"].items()}
