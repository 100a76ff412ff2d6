"""Flower's own processes on loopback: started for a test, and stopped by their id."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 240
"""Seconds after which a step is given up; each takes a few, on a busy machine some tens."""


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


class Flower:
    """A SuperLink, what is connected to it, and Flower's command line."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self._started = []
        self._env = os.environ | {
            "FLWR_HOME": str(folder / "home"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def start(self, name, *words):
        """Start a process in a session of its own: Flower starts more from it."""
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self._env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)

    def stop(self):
        for process in reversed(self._started):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._started:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def alive(self):
        ended = [process.args[0] for process in self._started if process.poll() is not None]
        if ended:
            pytest.fail(f"{ended} ended: {self.logs()}")

    def logs(self):
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))

    def superlink(self, *words, connection=""):
        """Start a SuperLink and wait until it answers."""
        (self.folder / "home").mkdir()
        (self.folder / "home" / "config.toml").write_text(
            '[superlink]\ndefault = "here"\n[superlink.here]\n'
            f'address = "127.0.0.1:{self.port}"\ninsecure = true\n{connection}'
        )
        self.start(
            "superlink",
            "flower-superlink",
            "--insecure",
            "--disable-runtime-dependency-installation",
            "--host=127.0.0.1",
            f"--port={self.port}",
            *words,
        )
        self.until(self._healthy)

    def _healthy(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as found:
                return found.status == 200
        except OSError:
            return False

    def supernode(self, config):
        self.start(
            f"node-{config}",
            "flower-supernode",
            "--insecure",
            f"--superlink=127.0.0.1:{self.port}",
            f"--port={free_port()}",
            f"--node-config={config}",
        )

    def until(self, done):
        """Look again and again until something is so; every process must live meanwhile."""
        watched = self._started[-1]
        for _ in range(2 * PATIENCE):
            self.alive()
            if done():
                return
            with suppress(subprocess.TimeoutExpired):
                watched.wait(timeout=0.5)
        pytest.fail(f"not done in {PATIENCE} s: {self.logs()}")

    def flwr(self, *words):
        ran = subprocess.run(
            ["flwr", *words, "--format=json"],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return json.loads(ran.stdout[ran.stdout.index("{") :])

    def run(self, config):
        """Run the app that this repository is, to its end."""
        started = self.flwr("run", str(ROOT), "here", "-c", config)
        assert started["success"], started

        def ended():
            (found,) = self.flwr("ls", "here")["runs"]
            if found["status"].startswith("finished"):
                assert found["status"] == "finished:completed", self.logs()
                return True
            return False

        self.until(ended)


@contextmanager
def flower(folder):
    running = Flower(folder)
    try:
        yield running
    finally:
        running.stop()
