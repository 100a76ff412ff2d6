"""One side of `benchmarks.lora_cohort`, as a process: ``python -m benchmarks.lora_cohort_side``.

The last line is a JSON object: MiB before training (modules, one backbone, one set of adapters for
each site) and at the peak, the seconds of each step, and how many rows a pass of the stacked engine
has. ``same`` trains both ways without noise and gives the largest difference, relative.
"""

import argparse
import functools
import importlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch

from benchmarks.lora_cohort_model import CLASSES, SIZES, TOKENS, Encoder, Size, encoder
from tacit.domains.domain import Examples
from tacit.errors import TacitError
from tacit.learning.local import Compute, train_round
from tacit.learning.plan import RoundPlan
from tacit.learning.stacked.cohort import Member, Sums, train_cohort
from tacit.learning.stacked.gradients import stacked_sums
from tacit.learning.stacked.trial import Means, choose
from tacit.models.trainable import Weights, load_trainable, trainable_weights
from tacit.privacy.randomness import Stream

WAYS: Final = ("held", "stacked", "one_pass", "loop", "same")
BATCH: Final = 8
"""Expected rows of a step at a site: a Poisson sample."""
ROWS: Final = 64
NONE: Final = 1e-9
"""As good as no noise; a plan without any is refused."""
CPU: Final = Compute(torch.device("cpu"))


@dataclass(frozen=True, slots=True)
class Work:
    """A cohort and what each of its sites has and computes."""

    model: Encoder
    rows: list[Examples]
    plan: RoundPlan
    starts: list[Weights]

    def stream(self, site: int, purpose: str) -> Stream:
        """Return a site's stream; it is the same in every way."""
        return Stream.seeded(0, f"site-{site}", 1, purpose)


def make_work(size: Size, sites: int, steps: int, noise_multiplier: float) -> Work:
    """Make a cohort with a set of adapters for each site."""
    generator = torch.Generator().manual_seed(0)
    model = encoder(size)
    rows = [
        Examples(
            torch.randint(size.vocabulary, (ROWS, TOKENS), generator=generator).float(),
            torch.randint(CLASSES, (ROWS,), generator=generator),
        )
        for _ in range(sites)
    ]
    plan = RoundPlan(steps, BATCH / ROWS, float(BATCH), 0.1, 1.0, noise_multiplier)
    return Work(model, rows, plan, [trainable_weights(model) for _ in range(sites)])


def by_product(model: Encoder) -> Sums:
    """Return what the stacked engine computes with, or fail where it would not be stacked."""
    chosen = choose(model, (TOKENS,), CPU, private=True)
    if chosen.means is not Means.STACKED or chosen.sums_of is None:
        raise TacitError(f"the stacked engine does not train this model: {chosen.reasons}")
    return chosen.sums_of


def in_one_pass(model: Encoder) -> Sums:
    """Return the same for all sites' rows in one pass, whatever fits a processor's cache."""
    return cast(Sums, functools.partial(stacked_sums, model))


def stacked(work: Work, sums_of: Sums, on_step: Callable[[int], None]) -> list[Weights]:
    """Train the cohort at once; return each site's weights."""
    members = [
        Member(len(rows), work.plan, work.stream(site, "coins"), work.stream(site, "noise"))
        for site, rows in enumerate(work.rows)
    ]
    starts = {
        name: torch.from_numpy(np.stack([own[name] for own in work.starts]))
        for name in work.starts[0]
    }
    rows = Examples.together(work.rows)
    trained = train_cohort(sums_of, rows, members, starts, None, on_step)
    return [
        {name: values[site].numpy() for name, values in trained.items()}
        for site in range(len(members))
    ]


def loop(work: Work, on_step: Callable[[int], None]) -> list[Weights]:
    """Train one site after another; return each site's weights."""
    found = []
    for site, rows in enumerate(work.rows):
        load_trainable(work.model, work.starts[site])
        train_round(
            work.model,
            rows,
            work.plan,
            coins=work.stream(site, "coins"),
            noise=work.stream(site, "noise"),
            layers=work.stream(site, "layers"),
            compute=CPU,
            on_step=on_step,
        )
        # The end of a site's last step is the begin of one that is not counted.
        on_step(work.plan.steps + 1)
        found.append(trainable_weights(work.model))
    return found


class Clock:
    """Adds up the CPU seconds of each step, over all sites where they come one after another."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self._at = 0
        self._since = 0.0

    def __call__(self, step: int) -> None:
        """Note that a step begins, and that the one before it has ended."""
        now = time.process_time()
        if step > 1:
            self.seconds[self._at] = self.seconds.get(self._at, 0.0) + now - self._since
        self._at, self._since = step, now


def difference(ours: list[Weights], theirs: list[Weights]) -> float:
    """Return the largest difference of a weight, over its largest entry, of all sites."""
    return max(
        float(np.abs(own[name] - other[name]).max() / np.abs(other[name]).max())
        for own, other in zip(ours, theirs, strict=True)
        for name in own
    )


def memory(what: str) -> float:
    """Return this process's resident set (VmRSS) or its peak (VmHWM), in MiB."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise TacitError(f"there is no {what} in /proc/self/status: this is not Linux")
    return int(found[1]) / 1024


def run(way: str, size: Size, sites: int, steps: int) -> Mapping[str, object]:
    """Train in one way and return what was measured."""
    if way == "same":
        work = make_work(size, sites, steps, NONE)
        ours = stacked(work, by_product(work.model), lambda step: None)
        return {"difference": difference(ours, loop(work, lambda step: None))}
    # Every way has the same modules before it begins: Opacus comes late otherwise.
    importlib.import_module("opacus.grad_sample")
    work, clock = make_work(size, sites, steps, 1.0), Clock()
    ready = memory("VmRSS")
    # The peak from here on: modules take more while they are imported.
    Path("/proc/self/clear_refs").write_text("5")
    if way == "loop":
        loop(work, clock)
    elif way in ("stacked", "one_pass"):
        sums_of = by_product(work.model) if way == "stacked" else in_one_pass(work.model)
        stacked(work, sums_of, clock)
        clock(steps + 1)
    return {
        "ready_mib": ready,
        "peak_mib": memory("VmHWM"),
        "seconds": [clock.seconds[step] for step in sorted(clock.seconds)],
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lora_cohort_side")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--size", choices=list(SIZES), default="minilm")
    parser.add_argument("--sites", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(run(asked.way, SIZES[asked.size], asked.sites, asked.steps)))


if __name__ == "__main__":
    main()
