"""Time ten million standard normal numbers on one core: the private stream beside two generators.

Run ``python -m benchmarks.noise``. The generators of torch and numpy are fast and not
cryptographic: they show what unpredictable noise costs.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.report import print_json
from tacit.privacy.randomness import Stream

NORMALS = 10_000_000
REPEATS = 7


def main() -> None:
    """Print a table of the times and, as the last line, the same as one JSON object."""
    torch.set_num_threads(1)
    stream = Stream.from_system()
    torch_generator = torch.Generator().manual_seed(0)
    numpy_generator = np.random.Generator(np.random.Philox(0))
    seconds = best_seconds(
        {
            "aes_256_ctr_stream": lambda: stream.normals(NORMALS),
            "torch_randn": lambda: torch.randn(NORMALS, generator=torch_generator),
            "numpy_philox": lambda: numpy_generator.standard_normal(NORMALS, dtype=np.float32),
        }
    )
    ours = seconds["aes_256_ctr_stream"]
    others = {name: taken for name, taken in seconds.items() if name != "aes_256_ctr_stream"}
    ratios = {f"stream_to_{name}": ours / taken for name, taken in others.items()}

    table = Table(title=f"{NORMALS:,} float32 normals, one core, best of {REPEATS}")
    table.add_column("generator")
    table.add_column("seconds", justify="right")
    table.add_column("stream takes", justify="right")
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.3f}", f"{ours / taken:.2f} ×")
    Console().print(table)
    print_json("noise", {f"{name}_seconds": taken for name, taken in seconds.items()}, ratios)


def best_seconds(draws: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Time each draw `REPEATS` times, in turn so that a slow spell hits all, and keep the best."""
    best = dict.fromkeys(draws, float("inf"))
    for _ in range(REPEATS):
        for name, draw in draws.items():
            started = time.perf_counter()
            draw()
            best[name] = min(best[name], time.perf_counter() - started)
    return best


if __name__ == "__main__":
    main()
