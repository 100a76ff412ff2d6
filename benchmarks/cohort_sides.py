"""The sides of ``python -m benchmarks.cohort``: each runs as a process of one thread."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.cohort_models import BATCH, COHORT, POINTS, RATE, USERS
from benchmarks.environments import PFL, RAY, python_with
from benchmarks.processes import ROOT, scratch
from tacit.errors import TacitError
from tacit.runs.directory import RESULTS

PATIENCE: Final = 600.0
ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)

DIGITS: Final = (
    "domain=digits",
    f"domain.partition.sites={USERS}",
    f"domain.partition.rows={POINTS}",
)
IMAGES: Final = ("domain=noise_images",)
WORK: Final = (
    "model=cohort",
    "compare=false",
    f"training.cohort={COHORT}",
    f"training.local_steps={POINTS // BATCH}",
    f"training.batch_size={BATCH}",
    f"training.learning_rate={RATE}",
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One process's figures.

    Parameters
    ----------
    seconds
        CPU seconds a round, user and system: the mean over the rounds that count.
    reported
        What the run's own results.json says of a round, where there is one.
    start_up
        Wall-clock seconds to the end of the first round, where they are measured.
    """

    seconds: float
    reported: float | None = None
    start_up: float | None = None


Side = Callable[[int, Path], Reading]
"""Measures so many rounds; others' environments lie in a folder."""


def ours(model: str, *words: str) -> Side:
    """Return tacit-simulate on a model: whole rounds."""

    def measured(rounds: int, environments: Path) -> Reading:
        with scratch() as folder:
            said = _run(
                Path(sys.executable),
                folder,
                "cohort_clock",
                f"--config-dir={ROOT}/benchmarks/conf",
                *(IMAGES if model == "cifar" else DIGITS),
                *WORK,
                f"model.architecture.model={model}",
                f"training.rounds={rounds + 1}",
                f"run.dir={folder}/run",
                *words,
            )
            timing = json.loads((folder / "run" / RESULTS).read_text())["timing"]
        return Reading(statistics.fmean(said), reported=timing["cpu_seconds_per_round"])

    return measured


def pfl(model: str) -> Side:
    """Return pfl on a model, without privacy."""

    def measured(rounds: int, environments: Path) -> Reading:
        python = python_with(PFL, environments)
        with scratch() as folder:
            said = _run(python, folder, "cohort_pfl", model, str(rounds))
        return Reading(statistics.fmean(said))

    return measured


def opacus(rounds: int, environments: Path) -> Reading:
    """Measure Opacus, one site after another, on the perceptron."""
    with scratch() as folder:
        said = _run(Path(sys.executable), folder, "cohort_opacus", str(rounds))
    return Reading(statistics.fmean(said))


def idle(where: str) -> Side:
    """Return sites that do nothing: ``here``, or on ``ray``."""

    def measured(rounds: int, environments: Path) -> Reading:
        python = python_with(RAY, environments) if where == "ray" else Path(sys.executable)
        with scratch() as folder:
            said = _run(python, folder, "cohort_idle", where, str(rounds), str(time.time()))
        return Reading(statistics.fmean(said["seconds"]), start_up=said["start_up"])

    return measured


def _run(python: Path, folder: Path, module: str, *words: str) -> Any:
    """Run a module of ours by a Python, and return what its last line says."""
    command: Sequence[str] = (str(python), "-m", f"benchmarks.{module}", *words)
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode != 0:
        raise TacitError(f"benchmarks.{module} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])
