"""Cohorts that are larger than memory: in chunks, of which only the mean may be kept.

A chunk's size follows from what a few sites were measured to need, and from the machine's memory:
it is the same whenever the same run is made on the same machine.
"""

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from client.task import Task
from simulations.learners import Learner
from tacit.models.trainable import Weights

UNMEASURED: Final = 32
"""Sites that are always trained at once: measuring takes longer than they do."""
SHARE: Final = 0.5
"""Part of the memory that a cohort may take."""


class Measurable(Learner, Protocol):
    """A learner that can say what it would need."""

    def peak(self, tasks: Sequence[Task]) -> int:
        """Return the most bytes that a step for these sites holds at once."""
        ...


class InChunks:
    """Trains a cohort in chunks, each small enough for memory.

    Parameters
    ----------
    learner
        Trains a chunk.
    size
        Most sites of a chunk; None to measure.
    memory
        Bytes that a chunk may hold.
    sizes
        Declared size of each site, where the strategy sees updates in their mean alone: of a chunk
        then only the mean is kept, and stands for each of its sites. None to keep each update.
    always
        Whether a cohort that is one chunk is reduced to its mean too.
    """

    def __init__(
        self,
        learner: Measurable,
        size: int | None,
        memory: int,
        sizes: Mapping[str, int] | None,
        *,
        always: bool = False,
    ) -> None:
        self._learner = learner
        self._size = size
        self._memory = memory
        self._sizes = sizes
        self._always = always

    def learn(self, tasks: Sequence[Task], begun: list[int]) -> Sequence[Weights]:
        """Return what each site has learnt, or the mean of its chunk."""
        most = self._most(tasks)
        count = ceil(len(tasks) / most)
        if count <= 1 and not self._always:
            return self._learner.learn(tasks, begun)
        size = ceil(len(tasks) / count)
        found: list[Weights] = []
        for start in range(0, len(tasks), size):
            part = tasks[start : start + size]
            steps = [0] * len(part)
            try:
                learnt = self._learner.learn(part, steps)
            finally:
                begun[start : start + len(part)] = steps
            found += learnt if self._sizes is None else mean_of(part, learnt, self._sizes)
        return found

    def _most(self, tasks: Sequence[Task]) -> int:
        if self._size is None:
            if len(tasks) <= UNMEASURED:
                return UNMEASURED
            # Two points, so that what is there for any number of sites counts once.
            few, more = (self._learner.peak(tasks[:count]) for count in (2, 6))
            own = max(1, (more - few) // 4)
            most = max(1, (self._memory - few) // own)
            # A power of two: what is measured a little differently gives the same chunks.
            self._size = max(UNMEASURED, 1 << (most.bit_length() - 1))
        return self._size


def mean_of(
    tasks: Sequence[Task], learnt: Sequence[Weights], sizes: Mapping[str, int]
) -> list[Weights]:
    """Return the mean of what sites have learnt, weighted by declared size, for each of them.

    Whoever weighs replies by declared size gets the same mean of them all, but for rounding. A site
    whose weights are not finite keeps them: it has nothing to send.
    """
    sound = [all(np.isfinite(array).all() for array in own.values()) for own in learnt]
    kept = [own for own, is_sound in zip(learnt, sound, strict=True) if is_sound]
    if not kept:
        return list(learnt)
    whole = np.array([sizes[t.site] for t, is_sound in zip(tasks, sound, strict=True) if is_sound])
    shares = (whole / whole.sum()).astype(np.float32)
    mean = {
        name: np.tensordot(shares, np.stack([own[name] for own in kept]), 1) for name in kept[0]
    }
    return [mean if is_sound else own for own, is_sound in zip(learnt, sound, strict=True)]


def memory_of(device: torch.device, workers: int) -> int:
    """Return how many bytes a cohort may take, where all these processes may share the device."""
    found = _machine_memory()
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device).total_memory
    return int(SHARE * found / workers)


def _machine_memory() -> int:
    """Return the memory of this machine or, where there is one, the limit of this container."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return found
    return min(found, int(limit)) if limit.isdecimal() else found


def peak_of(work: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that tensors made by some work hold at once."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = int(torch.cuda.memory_allocated(device))
        work()
        return int(torch.cuda.max_memory_allocated(device) - before)
    held = _Held()
    with held:
        work()
    return held.peak


class _Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages that operations make, for as long as each lives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._live: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._live:
            return
        self._live.add(key)
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._live.discard(key)
        self._now -= size
