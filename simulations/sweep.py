"""--multirun: one run for each combination of values, each in a process of its own.

A job that fails, whatever the reason, does not stop the others.
"""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from rich.console import Console

from commands.arguments import Arguments
from commands.compose import composed, jobs, parse, quoted
from simulations.progress import sweep_table
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError, ExitCode
from tacit.runs.directory import RESULTS, claim
from tacit.runs.results import read
from tacit.runs.sweep import SweepRow, write_sweep

GRACE: Final = 30
"""Seconds that a job has after Ctrl-C to settle what it charged."""


def sweep(arguments: Arguments) -> int:
    """Run every job and write the sweep's table; return the exit code of the worst job.

    Raises
    ------
    ConfigurationError
        A word or a value of any job cannot be used: nothing was run.
    """
    spread, folder = _jobs(arguments)
    console = Console()
    rows: list[SweepRow] = []
    with claim(folder, resume=False):
        for number, words in enumerate(spread):
            varied = tuple(word for word in words if word not in arguments.words)
            console.rule(f"job {number + 1} of {len(spread)}  {' '.join(varied)}")
            rows.append(_run_job(str(number), words, varied, folder / str(number), arguments))
            page = write_sweep(folder, rows)
    console.rule()
    sweep_table(rows, page.resolve(), console)
    return max(row.exit_code for row in rows)


def _jobs(arguments: Arguments) -> tuple[list[list[str]], Path]:
    """Check every job before the first runs, and find where the sweep is kept."""
    if arguments.show:
        raise ConfigurationError("--show prints one configuration: leave --multirun out")
    overrides = parse(arguments.words)
    if any(o.key_or_group == "run.resume" for o in overrides):
        raise ConfigurationError("run.resume goes on with one run: leave --multirun out")
    own = [o for o in overrides if o.key_or_group == "run.dir"]
    if any(o.is_sweep_override() for o in own):
        raise ConfigurationError("run.dir names the sweep: it has one value, without a comma")
    spread = jobs([str(o.input_line) for o in overrides if o not in own])
    for words in spread:
        settings = read_settings(composed(words, folder=arguments.config_dir))
    if own:
        return spread, Path(str(own[-1].value()))
    now = datetime.now().astimezone()
    return spread, Path("outputs") / settings.name / now.strftime("%Y-%m-%d_%H-%M-%S")


def _run_job(
    job: str, words: list[str], varied: tuple[str, ...], path: Path, arguments: Arguments
) -> SweepRow:
    # -P: a folder of the user's called conf, say, must not stand before ours.
    command = [sys.executable, "-P", "-m", "simulations.command", *words]
    command.append(f"run.dir={quoted(str(path))}")
    if arguments.config_dir is not None:
        command += ["--config-dir", str(arguments.config_dir)]
    code, said = _ended(command)
    sys.stderr.write(said)
    if code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    error = said.strip().splitlines()[-1] if code and said.strip() else None
    results = read(path / RESULTS) if code == ExitCode.DONE else None
    return SweepRow(job, varied, code, results, error)


def _ended(command: Sequence[str]) -> tuple[int, str]:
    """Run a job to its end, whatever it is; a stop of the sweep stops the job, which settles."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
        try:
            _, said = job.communicate()
        except KeyboardInterrupt:
            # The job got the same Ctrl-C: a second signal would cut it short.
            with suppress(subprocess.TimeoutExpired):
                job.wait(GRACE)
            raise
        finally:
            if job.poll() is None:
                job.terminate()
    # As a shell says it: killed by signal N is 128 + N.
    return (job.returncode if job.returncode >= 0 else 128 - job.returncode), said
