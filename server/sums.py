"""The next weights from a sum of what sites sent: nothing else is done with any part of it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.central import CentralNoise
from tacit.learning.parts import unflattened
from tacit.learning.plan import Part, RoundPlan
from tacit.learning.update import moved
from tacit.messages import SUM
from tacit.models.trainable import Weights
from tacit.privacy.randomness import Stream


@dataclass(frozen=True, slots=True)
class SumStep:
    """How a sum becomes the next weights.

    Parameters
    ----------
    parts
        Of each site: one grid, each its own weight.
    scale
        What a mean of parts is multiplied with: -η of gradients, C of clients' updates, else 1.
    deviation
        Standard deviation of the coordinator's noise on the sum; 0 where it adds none.
    clients
        By what a sum of whole clients is divided, whoever replied; 0 where a sum is divided by the
        weights of those whose parts are in it.
    count_weight
        κ of `tacit.learning.clipping`, where the last number of a sum is a count; else 0.
    """

    parts: Mapping[str, Part]
    scale: float
    deviation: float
    clients: int
    count_weight: float

    @classmethod
    def of(
        cls, sites: Mapping[str, RoundPlan], central: CentralNoise | None, clients: int
    ) -> "SumStep | None":
        """Return the step that sites' plans are for; None where their parts are on no grid.

        Parameters
        ----------
        sites
            What each computes.
        central
            How the coordinator noises the sum; None where it does not.
        clients
            How many sites a round asks.
        """
        parts = {site: plan.part for site, plan in sites.items() if plan.part is not None}
        if not parts:
            return None
        first = next(iter(sites.values()))
        deviation = 0.0
        if central is not None:
            # σ is of what a client's part may be after rounding, not before.
            grid = next(iter(parts.values())).grid()
            deviation = (
                central.noise_multiplier * grid.l2_sensitivity(first.unit_norm) * grid.spacing
            )
        scale = -first.learning_rate if first.sums_gradients else 1.0
        if first.clips_update:
            return cls(parts, first.clip, deviation, clients, first.count_weight)
        return cls(parts, scale, deviation, 0, 0.0)

    def like(self) -> dict[str, Any]:
        """Return an array of the type and shape of every site's part."""
        part = next(iter(self.parts.values()))
        return {SUM: np.zeros(part.dimension, np.uint16 if part.bits == 16 else np.uint32)}

    def total(self, sent: Mapping[str, Mapping[str, Any]]) -> NDArray[Any]:
        """Add up what sites sent in the open, each as `like` says."""
        total: NDArray[Any] = self.like()[SUM]
        for part in sent.values():
            total += part[SUM]
        return total

    def mean(
        self, total: NDArray[Any], sites: Collection[str], noise: Callable[[], Stream]
    ) -> NDArray[np.float64]:
        """Return what a sum stands for, with the coordinator's noise, divided.

        Parameters
        ----------
        total
            Sum of the sites' parts, modulo 2^bits [d].
        sites
            Whose parts are in it.
        noise
            Opens the stream of the coordinator's noise.
        """
        grid = next(iter(self.parts.values())).grid()
        summed: NDArray[np.float64] = grid.values(total).numpy()
        if self.deviation:
            summed += self.deviation * noise().normals(grid.dimension).numpy()
        summed /= float(self.clients) or sum(self.parts[site].weight for site in sites)
        return summed

    def weights(self, mean: NDArray[np.float64], start: Weights) -> Weights:
        """Return the next weights, from those that the sites began from."""
        update = mean[:-1] if self.count_weight else mean
        shapes = {name: array.shape for name, array in start.items()}
        return moved(start, unflattened(self.scale * update, shapes))

    def unclipped(self, mean: NDArray[np.float64]) -> float | None:
        """Return the noised share of updates that were not clipped; None where none is counted.

        One that did not reply counts as a half.
        """
        return float(mean[-1]) / self.count_weight + 0.5 if self.count_weight else None
