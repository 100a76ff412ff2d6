"""A coordinator and its sites as real processes on loopback, for tests that kill them."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import yaml

from server.provision import main as _  # noqa: F401  (the command must exist)

PATIENCE = 120.0
"""Seconds after which a test gives up; every step takes a few."""


class Deployment:
    """A provisioned folder, the coordinator, and sites."""

    def __init__(self, folder, sites, **site_keys):
        self.folder = folder
        self.sites = tuple(sites)
        self.run = folder / "RUN"
        self.port = None
        self._processes = {}
        self._env = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
            "XDG_STATE_HOME": str(folder / "state"),
        }
        words = [word for site in self.sites for word in ("--site", site)]
        self.command(
            "server.provision", "init", "trial", *words, "--name", "localhost"
        ).check_returncode()
        for site in self.sites:
            self.edit(site, heartbeat=1, **site_keys)

    def site_file(self, site):
        return self.folder / "trial" / "sites" / site / "site.yaml"

    def edit(self, site, limits=None, **keys):
        """Change keys of a site's file, as its officer would."""
        path = self.site_file(site)
        found = yaml.safe_load(path.read_text())
        found |= keys
        found["limits"] |= limits or {}
        path.write_text(yaml.safe_dump(found))

    def command(self, module, *words, timeout=PATIENCE):
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, words)],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, name, module, *words):
        """Start a process whose output goes to a file of its name."""
        with (self.folder / f"{name}.log").open("a") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, words)],
                cwd=self.folder,
                env=self._env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        return self._processes[name]

    def start_server(self, *words):
        """Start the coordinator; its port stays the same over restarts."""
        before = self.log("server").count("sites at port")
        process = self.start(
            "server",
            "server.command",
            "server.bundle=trial/server",
            "server.host=127.0.0.1",
            f"server.port={self.port or 0}",
            "server.watch_port=0",
            "server.heartbeat=2",
            f"run.dir={self.run}",
            *words,
        )
        self.wait_for("server", lambda text: text.count("sites at port") > before, process)
        self.port = int(re.findall(r"sites at port (\d+)", self.log("server"))[-1])
        for site in self.sites:
            self.edit(site, server=f"https://localhost:{self.port}")
        return process

    def start_site(self, site):
        return self.start(site, "client.command", f"site={self.site_file(site)}")

    def log(self, name):
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def wait_for(self, name, seen, process=None):
        """Wait until a process's log shows something; fail with the log if it ends before."""
        until = time.monotonic() + PATIENCE
        while not seen(self.log(name)):
            ended = process is not None and process.poll() is not None
            if ended and seen(self.log(name)):
                return
            assert not ended, f"{name} ended:\n{self.log(name)}"
            assert time.monotonic() < until, f"{name} is late:\n{self.log(name)}"
            time.sleep(0.02)

    def end_of(self, name):
        """Wait for a process's own end; return its exit code."""
        return self._processes[name].wait(timeout=PATIENCE)

    def kill(self, name, number=signal.SIGKILL):
        with suppress(ProcessLookupError):
            self._processes[name].send_signal(number)
        return self._processes[name].wait(timeout=PATIENCE)

    def stop(self):
        for process in self._processes.values():
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
