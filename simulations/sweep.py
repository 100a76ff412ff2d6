"""--multirun: one run for each combination of values, each in a process of its own.

A job that fails, whatever the reason, does not stop the others.
"""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

from rich.console import Console

from commands.arguments import Arguments
from commands.compose import composed, jobs, parse
from tacit.errors import ConfigurationError, ExitCode
from tacit.runs.directory import RESULTS, claim
from tacit.runs.results import read
from tacit.runs.sweep import SweepRow, write_sweep
from tacit.settings import read as read_settings


def sweep(arguments: Arguments) -> int:
    """Run every job and write the sweep's table; return the exit code of the worst job.

    Raises
    ------
    ConfigurationError
        A word or a value of any job cannot be used: nothing was run.
    """
    spread, folder = _jobs(arguments)
    console = Console()
    rows = []
    with claim(folder, resume=False):
        for number, words in enumerate(spread):
            varied = tuple(word for word in words if word not in arguments.words)
            console.rule(f"job {number + 1} of {len(spread)}: {' '.join(varied)}")
            rows.append(_run_job(str(number), words, varied, folder / str(number), arguments))
            page = write_sweep(folder, rows)
    console.print(f"sweep: {page.resolve()}", soft_wrap=True, markup=False, highlight=False)
    return max(row.exit_code for row in rows)


def _jobs(arguments: Arguments) -> tuple[list[list[str]], Path]:
    """Check every job before the first runs, and find where the sweep is kept."""
    own = [o for o in parse(arguments.words) if o.key_or_group in ("run.dir", "run.resume")]
    if any(o.key_or_group == "run.resume" for o in own):
        raise ConfigurationError("run.resume goes on with one run: leave --multirun out")
    rest = [w for w in arguments.words if not w.startswith("run.dir=")]
    spread = jobs(rest)
    name = ""
    for words in spread:
        settings = read_settings(composed(words, folder=arguments.config_dir))
        name = settings.name
    now = datetime.now().astimezone()
    default = Path("outputs") / name / now.strftime("%Y-%m-%d_%H-%M-%S")
    return spread, Path(str(own[-1].value())) if own else default


def _run_job(
    job: str, words: list[str], varied: tuple[str, ...], path: Path, arguments: Arguments
) -> SweepRow:
    # -P: a folder of the user's called conf, say, must not stand before ours.
    command = [sys.executable, "-P", "-m", "simulations.command", *words, f"run.dir='{path}'"]
    if arguments.config_dir is not None:
        command += ["--config-dir", str(arguments.config_dir)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    error = (
        done.stderr.strip().splitlines()[-1] if done.returncode and done.stderr.strip() else None
    )
    results = read(path / RESULTS) if done.returncode == ExitCode.DONE else None
    return SweepRow(job, varied, done.returncode, results, error)
