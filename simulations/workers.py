"""Processes that share a round's sites: each trains its part, and what comes back is small.

A worker makes the experiment ready by itself, so that nothing but requests and results travels:
JSON and safetensors over a pipe. Ledgers, messages and what stands on disk stay with the process
that began the run. Where the strategy sees updates in their mean alone, only means come back.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final

import torch
from safetensors.numpy import load, save

from client.task import Task
from tacit.errors import TacitError
from tacit.models.trainable import Weights
from tacit.runs.encoding import encode
from tacit.settings import Settings

# -P: a folder of the user's called conf, say, must not stand before ours.
COMMAND: Final = (sys.executable, "-P", "-m", "simulations.worker")


class Workers:
    """Trains a cohort in several processes.

    Parameters
    ----------
    settings
        The experiment's.
    means
        Whether of each part only the mean comes back.
    """

    def __init__(self, settings: Settings, *, means: bool) -> None:
        self._running: list[_Worker] = []
        try:
            for number in range(settings.engine.workers):
                self._running.append(_Worker(settings, number, means=means))
            for worker in self._running:
                worker.answer()
        except BaseException:
            self.close()
            raise

    def learn(self, tasks: Sequence[Task], begun: list[int]) -> list[Weights]:
        """Return what each site has learnt, or the mean of its part.

        What a worker has begun is not heard of at a stop: then the whole charge stands.
        """
        share = -(-len(tasks) // len(self._running))
        parts = [tasks[start : start + share] for start in range(0, len(tasks), share)]
        begun[:] = [task.plan.steps for task in tasks]
        busy = list(zip(self._running, parts, strict=False))
        for worker, part in busy:
            worker.ask(part)
        found: list[Weights] = []
        for worker, _ in busy:
            found += worker.answer()
        return found

    def close(self) -> None:
        """End the processes."""
        for worker in self._running:
            worker.close()


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, settings: Settings, number: int, *, means: bool) -> None:
        self._pipe, theirs = Pipe()
        self._process = subprocess.Popen(
            [*COMMAND, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.DEVNULL,
            # Ctrl-C is for the process that holds the ledgers.
            preexec_fn=_ignore_interrupts,
        )
        theirs.close()
        send(self._pipe, {"settings": encode(settings), "number": number, "means": means}, {})

    def ask(self, tasks: Sequence[Task]) -> None:
        """Send sites' tasks; weights that many begin with travel once."""
        which, starts = each_once([task.weights for task in tasks])
        asked = [
            {"site": task.site, "round": task.round, "plan": encode(task.plan), "start": start}
            for task, start in zip(tasks, which, strict=True)
        ]
        with self._explained():
            send(self._pipe, {"tasks": asked}, starts)

    def answer(self) -> list[Weights]:
        """Wait for what was learnt.

        Raises
        ------
        RuntimeError
            Training broke.
        TacitError
            The process ended.
        """
        with self._explained():
            said, arrays = receive(self._pipe)
        if said.get("error"):
            raise RuntimeError(said["error"])
        return [arrays[which] for which in said["which"]]

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.terminate()
        self._process.wait()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say that the process has ended, where its pipe breaks."""
        try:
            yield
        except (EOFError, OSError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            raise TacitError(
                f"a worker process ended with code {self._process.poll()}: was memory short? use "
                "fewer engine.workers, or a smaller engine.chunk"
            ) from error


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def each_once(weights: Sequence[Weights]) -> tuple[list[int], dict[int, Weights]]:
    """Number what is one object for several sites once; return each site's number, and the sets."""
    once = {id(own): own for own in weights}
    places = {key: place for place, key in enumerate(once)}
    return [places[id(own)] for own in weights], dict(enumerate(once.values()))


def send(pipe: Connection, said: dict[str, Any], arrays: dict[int, Weights]) -> None:
    """Send JSON, then sets of weights by number."""
    pipe.send_bytes(json.dumps({**said, "names": {n: list(w) for n, w in arrays.items()}}).encode())
    flat = {f"{n}/{name}": array for n, own in arrays.items() for name, array in own.items()}
    pipe.send_bytes(save(flat))


def receive(pipe: Connection) -> tuple[dict[str, Any], dict[int, Weights]]:
    """Read what `send` sent."""
    said = json.loads(pipe.recv_bytes())
    flat = load(pipe.recv_bytes())
    return said, {
        int(n): {name: flat[f"{n}/{name}"] for name in names} for n, names in said["names"].items()
    }


def device_of(name: str, number: int) -> str:
    """Return a worker's device: GPUs are dealt out, one process after the other."""
    wanted = "cuda" if name == "auto" and torch.cuda.is_available() else name
    return f"cuda:{number % torch.cuda.device_count()}" if wanted == "cuda" else name
