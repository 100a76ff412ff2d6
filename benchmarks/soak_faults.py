"""Break deployments at random, and see that nothing breaks: ``python -m benchmarks.soak_faults``.

Coordinators with two sites each, as processes on loopback, are struck at random points by the kinds
of `benchmarks.fault_kinds`, one after the other, with a heartbeat of 2 s. Each fault must be told
in a log with the site's name, the run must go on within two minutes, and what
`benchmarks.invariants` says must hold; at the run's end as well. In every other run noise is
seeded: it must end with the weights of a run that nothing disturbed. Ends with exit code 1 if
anything did not hold.
"""

import argparse
import itertools
import json
import random
import secrets
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.fault_kinds import BEGINNING, ENDS, MIDDLE, SERVER, Scene
from benchmarks.invariants import BrokenError, check, check_end, rounds
from benchmarks.processes import Deployment, scratch, stopped
from benchmarks.proxy import Proxy, proxy
from benchmarks.report import print_json
from tacit.errors import ExitCode, TacitError
from tacit.runs.directory import RESULTS

SITES: Final = ("county", "referral")
ROUNDS: Final = 24
HOLD: Final = "history.hang"
"""Holds the run between two faults."""
EXPERIMENT: Final = (
    "domain=hospitals",
    "model.pretraining=null",
    f"training.rounds={ROUNDS}",
    "training.local_steps=2",
)
MARGIN: Final = 4
"""Rounds before the last in which the fault at the run's end is put there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A fault that struck: its kind, seconds until a round was done again, what did not hold."""

    kind: str
    seconds: float
    broken: str | None = None


@dataclass(slots=True)
class Soak:
    """What all runs of a soak share.

    Parameters
    ----------
    seed
        From which every choice follows; what processes make of it in time does not.
    wanted
        How many faults must strike.
    weights
        Hash of the weights that a seeded run must end with.
    """

    seed: int
    wanted: int
    weights: str
    outcomes: list[Outcome] = field(default_factory=list)
    runs: int = 0
    running: set[Deployment] = field(default_factory=set)
    console: Console = field(default_factory=lambda: Console(stderr=True))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_run(self) -> int | None:
        """Return the number of another run, or None when enough has struck."""
        with self._lock:
            if len(self.outcomes) >= self.wanted:
                return None
            self.runs += 1
            return self.runs

    def give_up(self) -> None:
        """Stop all that runs."""
        self.wanted = 0
        for running in list(self.running):
            running.stop()

    def tell(self, run: int, outcome: Outcome) -> None:
        """Take the outcome of a fault in."""
        with self._lock:
            self.outcomes.append(outcome)
            said = outcome.broken or f"{outcome.seconds:.1f} s"
            line = f"{len(self.outcomes):4d}  run {run}  {outcome.kind}: {said}"
            self.console.print(line, markup=False, highlight=False)


def make(folder: Path, *, seeded: bool, faults: bool = True) -> Deployment:
    """Make a deployment that faults can strike."""
    keys = {"test_data": True, "noise_seed": 0} if seeded else {}
    made = Deployment(
        folder,
        SITES,
        experiment=EXPERIMENT,
        server_words=["server.round_timeout=8"],
        faults=faults,
        **keys,
    )
    for site in SITES:
        made.edit(site, limits={"least_noise_multiplier": 0.0})
    return made


def undisturbed() -> str:
    """Return the hash of the weights that a seeded run ends with when nothing disturbs it."""
    with scratch() as folder:
        running = make(folder, seeded=True, faults=False)
        with stopped(running):
            running.start_server()
            for site in SITES:
                running.start_site(site)
            if running.end_of(SERVER) != ExitCode.DONE:
                raise TacitError(f"a run that nothing disturbed did not end:\n{running.logs()}")
            return str(json.loads((running.run_dir / RESULTS).read_text())["weights_sha256"])


def work(soak: Soak) -> None:
    """Do runs until enough has struck."""
    while (number := soak.next_run()) is not None:
        chance, seeded = random.Random(f"{soak.seed}/{number}"), number % 2 == 0
        with scratch() as folder, ExitStack() as stack:
            running = make(folder, seeded=seeded)
            stack.enter_context(stopped(running))
            soak.running.add(running)
            stack.callback(soak.running.discard, running)
            running.start_server()
            proxies = {site: stack.enter_context(proxy(running.port)) for site in SITES}
            for site in SITES:
                running.edit(site, server=f"https://localhost:{proxies[site].port}")
            broken = False
            for outcome in strikes(running, proxies, chance):
                soak.tell(number, outcome)
                broken = broken or outcome.broken is not None
            try:
                if not broken:
                    finish(running, soak.weights if seeded else None)
            except TacitError as error:
                soak.tell(number, Outcome("end of a run", 0.0, str(error)))


def strikes(
    running: Deployment, proxies: Mapping[str, Proxy], chance: random.Random
) -> Iterator[Outcome]:
    """Strike a run, fault after fault, until it ends or something does not hold."""
    middle = itertools.cycle(chance.sample(MIDDLE, len(MIDDLE)))
    for kind in itertools.chain([chance.choice(BEGINNING)], middle):
        if len(rounds(running.run_dir)) >= ROUNDS - MARGIN:
            kind = chance.choice(ENDS)
        scene = Scene(running, proxies, chance.choice(SITES), chance)
        try:
            go = begin if kind in BEGINNING else release
            struck = kind.strike(scene, partial(go, running))
            mended = time.monotonic()
            if struck:
                goes_on(running)
                check(running)
                yield Outcome(kind.name, time.monotonic() - mended)
            if kind in ENDS or not running.alive(SERVER):
                return
            hold(running)
        except TacitError as error:
            yield Outcome(kind.name, 0.0, str(error))
            return


def begin(running: Deployment) -> None:
    """Let the sites come."""
    for site in SITES:
        running.start_site(site)


def release(running: Deployment) -> None:
    """Let a run go on that was held."""
    running.take_away(SERVER, HOLD)


def hold(running: Deployment) -> None:
    """Hold a run after its next round."""
    before = running.struck(SERVER).count(HOLD)
    running.put(SERVER, HOLD)
    running.wait_for(
        lambda: running.struck(SERVER).count(HOLD) > before or not running.alive(SERVER)
    )


def goes_on(running: Deployment) -> None:
    """Wait until another round is done, or the run has ended."""
    before = len(rounds(running.run_dir))
    running.wait_for(lambda: len(rounds(running.run_dir)) > before or not running.alive(SERVER))


def finish(running: Deployment, weights: str | None) -> None:
    """Wait for a run's end and check what it leaves; then stop its sites.

    Parameters
    ----------
    weights
        Hash of those that it must end with; None where noise is the system's.
    """
    if (code := running.end_of(SERVER)) != ExitCode.DONE:
        raise BrokenError(f"the run ended with exit code {code}:\n{running.log(SERVER)}")
    results = check_end(running)
    if weights not in (None, results["weights_sha256"]):
        raise BrokenError("a seeded run ended with other weights than one that nothing disturbed")
    early = any("not given back" in note for note in results["notes"])
    if early != (results["rounds"] < ROUNDS) or (early and weights):
        raise BrokenError(f"{results['rounds']} of {ROUNDS} rounds; notes: {results['notes']}")
    for site in SITES:
        if (code := running.kill(site, signal.SIGTERM)) != ExitCode.TERMINATED:
            raise BrokenError(f"{site} ended with exit code {code}:\n{running.log(site)}")
    check(running)


def table(outcomes: Sequence[Outcome]) -> Table:
    """Lay out what struck how often, and how long it took until a round was done again."""
    shown = Table(title="faults, and seconds from their end until a round was done")
    shown.add_column("fault")
    for heading in ("struck", "median", "longest", "broken"):
        shown.add_column(heading, justify="right")
    for kind in sorted({outcome.kind for outcome in outcomes}):
        same = [outcome for outcome in outcomes if outcome.kind == kind]
        seconds = [outcome.seconds for outcome in same]
        shown.add_row(
            kind,
            str(len(same)),
            f"{statistics.median(seconds):.1f}",
            f"{max(seconds):.1f}",
            str(sum(outcome.broken is not None for outcome in same)),
        )
    return shown


def main() -> None:
    """Soak, print a table, and fail if anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2, help="runs at the same time")
    parser.add_argument("--seed", type=int, default=secrets.randbits(31))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    begun = time.monotonic()
    soak = Soak(asked.seed, asked.faults, undisturbed())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with ThreadPoolExecutor(asked.workers) as workers:
        try:
            for done in [workers.submit(work, soak) for _ in range(asked.workers)]:
                done.result()
        except BaseException:
            soak.give_up()
            raise
    console = Console()
    console.print(table(soak.outcomes))
    broken = [outcome for outcome in soak.outcomes if outcome.broken]
    for outcome in broken:
        console.print(f"{outcome.kind}: {outcome.broken}", markup=False, highlight=False)
    figures = {
        "faults": float(len(soak.outcomes)),
        "kinds": float(len({outcome.kind for outcome in soak.outcomes})),
        "runs": float(soak.runs),
        "broken": float(len(broken)),
        "longest_seconds": max(outcome.seconds for outcome in soak.outcomes),
        "minutes": (time.monotonic() - begun) / 60,
    }
    print_json("soak_faults", figures)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
