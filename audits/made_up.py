"""Records that an attack tries to rebuild: nobody's, and each as good a target as any."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from audits.bench import Bench
from tacit.domains.domain import Examples

Records = NDArray[np.float64]

_SHAPES: Final = 4


@dataclass(frozen=True, slots=True)
class Guessed:
    """What an attacker has who sees nothing: records like those that are sought.

    Parameters
    ----------
    unrelated
        Records [n, width] of the same law.
    sought
        Those that are sought, of which only the range is used: it is public.
    """

    unrelated: Records
    sought: Records

    @property
    def mean(self) -> Records:
        """The mean record [width]."""
        found: Records = self.unrelated.mean(axis=0)
        return found

    @property
    def reach(self) -> tuple[float, float]:
        """Least and largest value of any."""
        everything = np.vstack([self.unrelated, self.sought])
        return float(everything.min()), float(everything.max())

    def nearest(self, original: Records) -> Records:
        """Return the best of them, and of their mean: what luck alone gives."""
        everything = np.vstack([self.unrelated, self.mean])
        found: Records = everything[np.square(everything - original).sum(axis=1).argmin()]
        return found


def records(bench: Bench, count: int, seed: int) -> Examples:
    """Make records [count, ...]: grey images of a few soft shapes, or the bench's rows."""
    rows = bench.rows(count, seed)
    if rows.features.dim() != 4:
        return rows
    random = np.random.default_rng(seed)
    height, width = rows.features.shape[-2:]
    down, across = np.indices((height, width))
    images = np.zeros(rows.features.shape, dtype=np.float32)
    for image in images:
        for _ in range(_SHAPES):
            y, x = random.uniform(0.15, 0.85, 2) * (height, width)
            tall, wide = random.uniform(0.06, 0.25, 2) * (height, width)
            shape = np.exp(-(((down - y) / tall) ** 2) - ((across - x) / wide) ** 2)
            image += np.float32(random.uniform(0.4, 1.0)) * shape.astype(np.float32)
    return Examples(torch.from_numpy(images.clip(0, 1)), rows.targets, rows.persons)
