"""Processes on this machine that are started, watched and stopped together.

A `Deployment` is a coordinator and its sites, as `tacit-provision` makes them; benchmarks measure
it, and tests break it. Nothing here waits for a time: what is waited for is seen in a log.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import yaml

from tacit.errors import TacitError

PATIENCE: Final = 120.0
"""Seconds after which something that should happen does not: every step takes a few."""
LOOK: Final = 0.02
"""Seconds between two looks."""
ROOT: Final = Path(__file__).parents[1]
MODULES: Final = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
"""Where a process looks for modules: the Tacit of whoever starts it first."""


class LateError(TacitError):
    """A process ended, or went on, without what was waited for."""


def module(name: str) -> tuple[str, ...]:
    """Return the command of a module, run by this Python."""
    return (sys.executable, "-m", name)


class Processes:
    """Processes that work in one folder; each has a name, and its output goes to NAME.log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": MODULES,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(folder / "state"),
        }

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own; its output goes on in the same file."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[name] = process
        return process

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def log(self, name: str) -> str:
        """Return what a process has said so far, and those of its name before it."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for(self, done: Callable[[], bool], *needed: str, patience: float = PATIENCE) -> None:
        """Look again and again.

        Parameters
        ----------
        done
            Tells whether it has happened.
        needed
            Processes without which it cannot: that one of them ends is an error.

        Raises
        ------
        LateError
            It did not happen; with the ends of all logs.
        """
        until = time.monotonic() + patience
        while not done():
            ended = [name for name in needed if self._running[name].poll() is not None]
            if ended and not done():
                raise LateError(f"{', '.join(ended)} ended too early:\n{self.logs()}")
            if time.monotonic() > until:
                raise LateError(f"nothing happened within {patience:g} s:\n{self.logs()}")
            time.sleep(LOOK)

    def wait_for_line(self, name: str, text: str, after: int = 0) -> None:
        """Wait until a process says something that it has not said in its log's first letters."""
        self.wait_for(lambda: text in self.log(name)[after:], name)

    def end_of(self, name: str, patience: float = PATIENCE) -> int:
        """Wait for a process's own end and return its exit code."""
        try:
            return self._running[name].wait(patience)
        except subprocess.TimeoutExpired as error:
            raise LateError(f"{name} does not end:\n{self.logs()}") from error

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a process a signal and return its exit code."""
        with suppress(ProcessLookupError):
            self._running[name].send_signal(number)
        return self.end_of(name)

    def pid(self, name: str) -> int:
        """Return the number of a process."""
        return self._running[name].pid

    def alive(self, name: str) -> bool:
        """Tell whether a process was started and has not ended."""
        return name in self._running and self._running[name].poll() is None

    def orphans(self) -> list[int]:
        """Return what runs on though it was started by none of the processes that still run.

        It is known by its environment: a number may be another process's by now.
        """
        own = {each.pid for each in self._running.values() if each.poll() is None}
        mark = f"XDG_STATE_HOME={self.folder / 'state'}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return [pid for pid in found if pid not in own]

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def stop(self) -> None:
        """Stop everything that was started, and what that has started."""
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for orphan in self.orphans():
            with suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)


class Deployment(Processes):
    """A provisioned coordinator and its sites.

    Parameters
    ----------
    folder
        Where everything lies.
    sites
        Names of the sites, of the domain's.
    experiment
        Words of the experiment that coordinator and sites share.
    server_words
        Further words of the coordinator, at every start.
    faults
        Whether processes are started through `benchmarks.armed`, with their faults in
        ``faults/NAME`` of the folder.
    site_keys
        Keys of every site.yaml.
    """

    def __init__(
        self,
        folder: Path,
        sites: Sequence[str],
        *,
        experiment: Sequence[str] = (),
        server_words: Sequence[str] = (),
        faults: bool = False,
        **site_keys: Any,
    ) -> None:
        super().__init__(folder)
        self.sites = tuple(sites)
        self.run_dir = folder / "RUN"
        self.port = 0
        self._faults = faults
        words = [word for site in sites for word in ("--site", site)]
        done = self.run(*module("server.provision"), "init", "trial", *words, "--name", "localhost")
        if done.returncode != 0:
            raise TacitError(f"tacit-provision failed: {done.stderr}")
        self._words = (*experiment, *server_words)
        for site in sites:
            self.edit(site, heartbeat=1.0, **site_keys)
            if experiment:
                self.edit(site, experiment=[*experiment])

    def site_file(self, site: str) -> Path:
        """Return the path of a site's site.yaml."""
        return self.folder / "trial" / "sites" / site / "site.yaml"

    def edit(self, site: str, limits: Mapping[str, Any] | None = None, **keys: object) -> None:
        """Change keys of a site's file, as its officer would."""
        path = self.site_file(site)
        found = yaml.safe_load(path.read_text())
        found |= keys
        found["limits"] |= limits or {}
        path.write_text(yaml.safe_dump(found))

    def start_server(self, *words: str) -> None:
        """Start the coordinator and wait until it listens; its port stays over restarts."""
        said = len(self.log("server"))
        self.launch_server(*words)
        self.wait_for_line("server", "sites at port", said)
        if not self.port:
            (port,) = re.findall(r"sites at port (\d+)", self.log("server"))
            self.port = int(port)
            for site in self.sites:
                self.edit(site, server=f"https://localhost:{self.port}")

    def launch_server(self, *words: str) -> None:
        """Start the coordinator."""
        self.start(
            "server",
            *self._command("server", "server.command"),
            "server.bundle=trial/server",
            "server.host=127.0.0.1",
            f"server.port={self.port}",
            "server.watch_port=0",
            "server.heartbeat=2",
            f"run.dir={self.run_dir}",
            *self._words,
            *words,
        )

    def start_site(self, site: str) -> None:
        """Start a site."""
        self.start(site, *self._command(site, "client.command"), f"site={self.site_file(site)}")

    def put(self, name: str, fault: str, text: str = "") -> None:
        """Let a fault wait for a process: see `benchmarks.armed`."""
        folder = self.folder / "faults" / name
        folder.mkdir(parents=True, exist_ok=True)
        # Whole at once: a process may look at any time.
        part = self.folder / "faults" / f"{name}.part"
        part.write_text(text)
        part.rename(folder / fault)

    def take_away(self, name: str, fault: str) -> None:
        """End a fault that lasts as long as its file."""
        (self.folder / "faults" / name / fault).unlink(missing_ok=True)

    def struck(self, name: str) -> list[str]:
        """Return the faults that struck a process, and those of its name before it."""
        path = self.folder / "faults" / name / "struck"
        return path.read_text().splitlines() if path.exists() else []

    def ledger(self, site: str) -> Path:
        """Return the path of a site's ledger, which is there."""
        (path,) = (self.site_file(site).parent / "ledger").glob("*.sqlite")
        return path

    def _command(self, name: str, command: str) -> tuple[str, ...]:
        if not self._faults:
            return module(command)
        return (*module("benchmarks.armed"), str(self.folder / "faults" / name), command)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tacit-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def stopped(running: Processes) -> Iterator[None]:
    """Stop the processes at the end, whatever happens."""
    try:
        yield
    finally:
        running.stop()
