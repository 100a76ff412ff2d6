"""--multirun: one run for each combination of values, one after another.

Jobs share a process, and in it what they load (`simulations.sweep_jobs`). A job that fails,
whatever the reason, does not stop the others: where it took the process with it, they get another.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console

from commands.arguments import Arguments
from commands.compose import composed, jobs, parse
from simulations.progress import sweep_table
from tacit.configuration import read_settings
from tacit.errors import ConfigurationError, ExitCode
from tacit.runs.directory import RESULTS, claim
from tacit.runs.results import read
from tacit.runs.sweep import SweepRow, write_sweep

GRACE: Final = 30
"""Seconds that a job has after Ctrl-C to settle what it charged."""
LOOK: Final = 0.5
"""Seconds after which it is looked whether a process that says nothing is still there."""
# -P: a folder of the user's called conf, say, must not stand before ours.
COMMAND: Final = (sys.executable, "-P", "-m", "simulations.sweep_jobs")


@dataclass(frozen=True, slots=True)
class _Job:
    """One run of a sweep: its name, what is varied, and its configuration as plain values."""

    name: str
    varied: tuple[str, ...]
    config: dict[str, Any]


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
    with claim(folder, resume=False), Worker(COMMAND) as worker:
        for job in spread:
            console.rule(f"job {int(job.name) + 1} of {len(spread)}  {' '.join(job.varied)}")
            rows.append(_run_job(job, folder / job.name, worker))
            page = write_sweep(folder, rows)
    console.rule()
    sweep_table(rows, page.resolve(), console)
    return max(row.exit_code for row in rows)


def _jobs(arguments: Arguments) -> tuple[list[_Job], Path]:
    """Check every job before the first runs, and find where the sweep is kept."""
    if arguments.show:
        raise ConfigurationError("--show prints one configuration: leave --multirun out")
    overrides = parse(arguments.words)
    if any(o.key_or_group == "run.resume" for o in overrides):
        raise ConfigurationError("run.resume goes on with one run: leave --multirun out")
    own = [o for o in overrides if o.key_or_group == "run.dir"]
    if any(o.is_sweep_override() for o in own):
        raise ConfigurationError("run.dir names the sweep: it has one value, without a comma")
    spread = []
    for number, words in enumerate(jobs([str(o.input_line) for o in overrides if o not in own])):
        config = composed(words, folder=arguments.config_dir)
        settings = read_settings(config)
        varied = tuple(word for word in words if word not in arguments.words)
        spread.append(_Job(str(number), varied, config))
    if own:
        return spread, Path(str(own[-1].value()))
    now = datetime.now().astimezone()
    return spread, Path("outputs") / settings.name / now.strftime("%Y-%m-%d_%H-%M-%S")


def _run_job(job: _Job, path: Path, worker: "Worker") -> SweepRow:
    config = {**job.config, "run": {**job.config["run"], "dir": str(path)}}
    code, said = worker.run(config)
    sys.stderr.write(said)
    if code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    error = said.strip().splitlines()[-1] if code and said.strip() else None
    results = read(path / RESULTS) if code == ExitCode.DONE else None
    return SweepRow(job.name, job.varied, code, results, error)


class Worker:
    """A process that does one job after another; a new one where a job has ended it.

    Parameters
    ----------
    command
        The process; the descriptor for its replies is added.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._replies = -1
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # A file and not a pipe: all that a job has said is there when its reply is. Both
            # processes have one position in it, so that the job must append.
            self._errors = stack.enter_context(tempfile.TemporaryFile("a+b"))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process: it has no more jobs, or it is stopped within one, which settles."""
        with self._open:
            process = self._process
            if process is None:
                return
            if isinstance(error, KeyboardInterrupt):
                # The job got the same Ctrl-C: a second signal would cut it short.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
            if error is not None and process.poll() is None:
                process.terminate()
            self._let_go(process)
            process.wait()

    def run(self, config: dict[str, Any]) -> tuple[int, str]:
        """Run a job to its end, whatever it is; return its exit code and what it said on stderr."""
        process = self._started()
        if process.stdin is None:
            raise RuntimeError("the process of a sweep's jobs was started without a pipe")
        begin = os.fstat(self._errors.fileno()).st_size
        with suppress(BrokenPipeError):  # it has ended, and its exit code says how
            process.stdin.write(json.dumps(config) + "\n")
            process.stdin.flush()
        reply = self._reply(process)
        self._errors.seek(begin)
        said = self._errors.read().decode(errors="replace")
        if reply is not None:
            return reply, said
        # As a shell says it: killed by signal N is 128 + N.
        code = process.returncode
        return (code if code >= 0 else 128 - code), said

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        if self._process is not None:
            self._let_go(self._process)
        self._replies, end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*self._command, str(end)],
                stdin=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                pass_fds=[end],
            )
        finally:
            os.close(end)
        return self._process

    def _let_go(self, process: "subprocess.Popen[str]") -> None:
        """Close what leads to a process and from it: without more jobs it ends."""
        os.close(self._replies)
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()

    def _reply(self, process: "subprocess.Popen[str]") -> int | None:
        """Wait for a job's exit code; None where the process has ended without one."""
        while True:
            ended = process.poll() is not None
            ready, _, _ = select.select([self._replies], [], [], 0 if ended else LOOK)
            if ready:
                line = os.read(self._replies, 64)
                if line:
                    return int(line)
                process.wait()
            if ready or ended:
                return None
