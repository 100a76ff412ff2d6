"""How often the audit finds planted faults, and how often it cries wolf: ``-m benchmarks.audits``.

Three tables. Faults: each of `benchmarks.audit_cases` in many runs, its size drawn anew, with the
tests that found it. Honest runs: over ε, rates, units and what the coordinator sees, how many are
contradicted, with the upper 95 % limit of Clopper and Pearson. Power: what the test of a claim by
canaries sees of too little noise. Attacks on models get a second each, which takes power from them
and raises no alarm. Under two hours on two cores; ``--only`` makes a part.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from audits import levels
from audits.bounds import clopper_pearson
from audits.gaussian_canaries import Group, Steps, power
from benchmarks.audit_cases import (
    BY_CHANCE,
    CODE,
    FILES,
    HONEST,
    Fault,
    Words,
    audited,
    hurried,
    probed,
    simulated,
)
from benchmarks.audit_faults import seeds
from benchmarks.report import print_json
from tacit.privacy.calibration import noise_multiplier
from tacit.privacy.events import GaussianSteps, Unit
from tacit.privacy.profile import profile
from tacit.runs.audited import Outcome

EPSILONS: Final = (0.5, 2, 8)
PARTS: Final = ("faults", "honest", "power")
POWER_EPSILONS: Final = (0.5, 1.0, 3.0, 8.0, 16.0)
POWER_DEFICITS: Final = (0.0, 0.1, 0.2, 0.5)
POWER_CANARIES: Final = (300, 1000, 10_000)
POWER_ROUNDS: Final = ((1.0, 30), (0.1, 120))


@dataclass(frozen=True, slots=True)
class Job:
    """A run to make and to audit.

    Parameters
    ----------
    name
        Of its row in the table.
    words, seed
        The run.
    fault
        Put in first; None in an honest run.
    whole
        Whether all of the audit is done on a run of its own, or the probes alone, whose run is made
        once for many.
    """

    def key(self) -> list[object]:
        """Return what tells it from others, for a file."""
        return [self.name, *self.words, self.seed, self.whole]

    name: str
    words: Words
    seed: int
    fault: Fault | None = None
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Done:
    """Which tests contradicted a run, and whether the audit was whole."""

    job: Job
    tests: tuple[str, ...]
    tested: bool


@cache
def _run_to_probe(words: Words) -> TemporaryDirectory[str]:
    """Make an honest run whose step is probed again and again, once in a process."""
    folder = TemporaryDirectory()
    with pytest.MonkeyPatch.context() as patch:
        hurried(patch)
        simulated(Path(folder.name) / "run", words)
    return folder


def work(job: Job) -> Done:
    """Make a run and audit it, in a process of its own kind."""
    torch.set_num_threads(1)
    run = None if job.whole else Path(_run_to_probe(job.words).name) / "run"
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        hurried(patch)
        fault = job.fault
        if fault is not None and fault in CODE:
            fault.put_in(patch, seeds(fault.put_in, job.seed))
        if run is not None:
            return Done(job, tuple(probed(run, job.seed)), tested=True)
        path = simulated(Path(folder) / "run", (*job.words, f"seed={job.seed}"))
        if fault is not None and fault in FILES:
            fault.put_in(path)
        audit, tests = audited(path)
        return Done(job, tuple(tests), audit.outcome is not Outcome.NOT_TESTED)


class Kept:
    """What was done before, in a file to which more is added as it comes; None keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known = {json.dumps(key): done for key, *done in map(json.loads, lines)}

    def known(self, job: Job) -> Done | None:
        """Return what came of a job in an earlier sitting."""
        found = self._known.get(json.dumps(job.key()))
        return None if found is None else Done(job, tuple(found[0]), found[1])

    def add(self, done: Done) -> None:
        """Keep what came of a job."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([done.job.key(), done.tests, done.tested]) + "\n")


def all_done(jobs: Sequence[Job], processes: int, kept: Kept) -> list[Done]:
    """Do jobs in several processes, with progress on standard error."""
    before = {id(job): done for job in jobs if (done := kept.known(job)) is not None}
    left = [job for job in jobs if id(job) not in before]
    found = [*before.values()]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in track(
            pool.map(work, left),
            total=len(left),
            description="audited",
            console=Console(stderr=True),
        ):
            kept.add(done)
            found.append(done)
    return found


def faults(console: Console, few: int, many: int, processes: int, kept: Kept) -> dict[str, float]:
    """Print which faults were found in how many runs, and by which tests."""
    table = Table(title="Planted faults: runs in which the named test found them")
    for column in ("fault", "found", "at least (95 %)", "by the test", "and by"):
        table.add_column(column)
    figures = {}
    jobs = [
        Job(fault.name, fault.words, seed, fault)
        for fault in (*CODE, *FILES)
        for seed in range(few)
    ]
    jobs += [
        Job(fault.name, fault.words, seed, fault, whole=False)
        for fault in CODE
        if fault.put_in in BY_CHANCE
        for seed in range(few, many)
    ]
    done = all_done(jobs, processes, kept)
    for fault in (*CODE, *FILES):
        own = [each for each in done if each.job.fault == fault]
        found = sum(fault.test in each.tests for each in own)
        least = clopper_pearson(found, len(own), 0.9)[0]
        others = Counter(test for each in own for test in set(each.tests) if test != fault.test)
        table.add_row(
            fault.name,
            f"{found} of {len(own)}",
            f"{least:.3f}",
            fault.test,
            ", ".join(f"{test} ({count})" for test, count in others.most_common(2)),
        )
        figures[f"found/{fault.name}"] = found / len(own)
        figures[f"found at least/{fault.name}"] = round(least, 4)
    console.print(table)
    return figures


def honest(console: Console, runs: int, processes: int, kept: Kept) -> dict[str, float]:
    """Print how many honest runs were contradicted."""
    kinds = [
        (f"{name}, ε = {epsilon:g}", (*words, f"privacy.epsilon={epsilon:g}"))
        for name, words in HONEST.items()
        for epsilon in EPSILONS
    ]
    # No two runs share a seed: noise follows it, and alarms of like noise would come together.
    jobs = [
        Job(*kinds[number % len(kinds)], seed=1000 + number)
        for number in range(len(kinds) * -(-runs // len(kinds)))
    ]
    done = all_done(jobs, processes, kept)
    table = Table(title="Honest runs")
    for column in ("kind", "runs", "contradicted", "not tested", "by"):
        table.add_column(column)
    for name, _ in kinds:
        own = [each for each in done if each.job.name == name]
        by = Counter(test for each in own for test in each.tests)
        table.add_row(
            name,
            str(len(own)),
            str(sum(bool(each.tests) for each in own)),
            str(sum(not each.tested for each in own)),
            ", ".join(f"{test} ({count})" for test, count in by.items()),
        )
    console.print(table)
    alarms = sum(bool(each.tests) for each in done)
    most = clopper_pearson(alarms, len(done), 0.9)[1]
    console.print(
        f"{alarms} of {len(done)} honest runs contradicted; at most {100 * most:.2f} % (upper 95 %)"
    )
    return {
        "false alarms": float(alarms),
        "honest runs": float(len(done)),
        "false alarms, upper 95 % limit": round(most, 4),
    }


def powers(console: Console) -> dict[str, float]:
    """Print how often canaries contradict a claim with too little noise."""
    table = Table(title="Power of the claim's test by canaries in a run, δ = 1e-5")
    for column in ("rate, steps", "ε", "canaries"):
        table.add_column(column)
    for deficit in POWER_DEFICITS:
        table.add_column(f"{100 * deficit:g} % missing", justify="right")
    figures = {}
    for rate, count in POWER_ROUNDS:
        for epsilon in POWER_EPSILONS:
            with TemporaryDirectory() as cache:
                sigma = noise_multiplier(epsilon, 1e-5, rate, count, cache=Path(cache))
            event = GaussianSteps(sigma, rate, count, 1.0, Unit.RECORD)

            def claimed(at: Sequence[float], event: GaussianSteps = event) -> Sequence[float]:
                return profile([event], at)

            for canaries in POWER_CANARIES:
                steps, level = Steps(sigma, rate, count), levels.CANARY_PROFILE
                row = [
                    power([Group(steps, canaries // 2)], claimed, level, deficit)
                    for deficit in POWER_DEFICITS
                ]
                table.add_row(
                    f"{rate:g}, {count}",
                    f"{epsilon:g}",
                    f"{canaries:,}",
                    *(f"{found / tries:.2f}" for found, tries in row),
                )
                for deficit, (found, tries) in zip(POWER_DEFICITS, row, strict=True):
                    figures[f"power/{rate:g}/{epsilon:g}/{canaries}/{deficit:g}"] = found / tries
    console.print(table)
    return figures


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=20, help="runs of each fault")
    parser.add_argument(
        "--chances", type=int, default=300, help="runs of a fault that is found by chance"
    )
    parser.add_argument("--honest", type=int, default=400, help="honest runs, at least")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="file of what is done; it goes on from there")
    asked = parser.parse_args()
    console, kept = Console(width=160), Kept(asked.keep)
    figures: dict[str, float] = {}
    if "faults" in asked.only:
        figures |= faults(console, asked.seeds, asked.chances, asked.processes, kept)
    if "honest" in asked.only:
        figures |= honest(console, asked.honest, asked.processes, kept)
    if "power" in asked.only:
        figures |= powers(console)
    print_json("audits", figures)


if __name__ == "__main__":
    main()
