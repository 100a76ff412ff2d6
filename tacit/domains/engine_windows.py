"""Windows of an engine's life: sensors scaled by a public fleet, and how many cycles are left."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from tacit.domains.cmapss import SENSORS, Array
from tacit.domains.domain import Target

Scaled = npt.NDArray[np.float32]

TARGET: Final = Target("remaining useful life", "cycles", 0, 125)
"""Capped at 125 cycles, as is common: a young engine's sensors show no wear yet (Heimes 2008,
PHM08, who takes 130)."""
CONDITIONS: Final = np.array(
    [[0, 0, 100], [10, 0.25, 100], [20, 0.7, 100], [25, 0.62, 60], [35, 0.84, 100], [42, 0.84, 100]]
)
"""Operating conditions of the simulator: altitude in 1000 ft, Mach number, throttle resolver angle;
FD001 and FD003 have the first alone."""
YOUNGEST: Final = 20
"""Fewest cycles that an engine has run at the end of a training window."""
SPREAD: Final = 3.0
"""Standard deviations of the pool that are scaled to 1."""
LARGEST: Final = 3.0
"""Bound of a scaled sensor."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and standard deviation of the pool's sensors under each condition, [conditions, 14]."""

    mean: Array
    deviation: Array

    @staticmethod
    def of(engines: list[Array]) -> "Scaling":
        """Take them from the public engines; a condition that they do not have is not scaled."""
        cycles = np.concatenate(engines)
        condition = nearest(cycles)
        mean = np.zeros((len(CONDITIONS), len(SENSORS)))
        deviation = np.ones_like(mean)
        for number in np.unique(condition):
            own = cycles[condition == number, 3:]
            mean[number] = own.mean(0)
            spread = own.std(0)
            deviation[number] = np.where(spread > 1e-9, spread, 1)
        return Scaling(mean, deviation)

    def __call__(self, cycles: Array) -> Scaled:
        """Scale cycles [..., 3 settings and 14 sensors] to features [..., 14], bounded."""
        condition = nearest(cycles)
        scaled = (cycles[..., 3:] - self.mean[condition]) / (SPREAD * self.deviation[condition])
        return scaled.clip(-LARGEST, LARGEST).astype(np.float32)


def nearest(cycles: Array) -> npt.NDArray[np.int64]:
    """Return under which of `CONDITIONS` cycles [..., settings and sensors] were flown."""
    # In units of the largest setting, for an altitude of 42 is not 42 Mach numbers.
    unit = CONDITIONS.max(0)
    apart = cycles[..., None, :3] / unit - CONDITIONS / unit
    found: npt.NDArray[np.int64] = np.square(apart).sum(-1).argmin(-1)
    return found


def last_windows(
    engine: Scaled, window: int, stride: int, most: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut windows of an engine that has failed, counted back from the failure.

    Parameters
    ----------
    engine
        Scaled cycles [cycles, 14] from the first to the failure.
    window, stride, most
        As in `FleetEngines`, of which the last is `windows`.

    Returns
    -------
    features : Tensor
        float32 [n, window, 14].
    targets : Tensor
        Scaled remaining lives, float32 [n].
    """
    left = np.arange(most) * stride
    # An engine that failed very young has its last window at least.
    left = left[: max(1, int((len(engine) - left >= YOUNGEST).sum()))]
    features = windows_of(engine, len(engine) - left, window)
    return torch.from_numpy(features), torch.from_numpy(TARGET.scale(left.astype(np.float64)))


def windows_of(engine: Scaled, ends: npt.ArrayLike, length: int) -> Scaled:
    """Cut windows that end after given numbers of cycles, [ends, length, 14].

    Where an engine is too young for a whole window, its first cycle is repeated before it.
    """
    cycles = np.asarray(ends)[:, None] + np.arange(-length, 0)
    windows: Scaled = engine[np.maximum(cycles, 0)]
    return windows
