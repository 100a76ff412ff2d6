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
        What a mean of parts is multiplied with: -η of gradients, 1 of what rounds have added.
    central
        The coordinator's noise on the sum and by what it is then divided; None where the sum is
        divided by the weights of those whose parts are in it.
    clients
        By what a sum of whole clients is divided, with noise of their own; 0 elsewhere.
    """

    parts: Mapping[str, Part]
    scale: float
    central: CentralNoise | None
    clients: int

    @classmethod
    def of(
        cls, sites: Mapping[str, RoundPlan], central: CentralNoise | None, clients: int
    ) -> "SumStep | None":
        """Return the step that sites' plans are for; None where their parts are on no grid.

        Parameters
        ----------
        clients
            How many sites a round asks.
        """
        parts = {site: plan.part for site, plan in sites.items() if plan.part is not None}
        if not parts:
            return None
        first = next(iter(sites.values()))
        scale = -first.learning_rate if first.sums_gradients else 1.0
        return cls(parts, scale, central, clients if first.clips_update else 0)

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

    def weights(
        self,
        total: NDArray[Any],
        sites: Collection[str],
        start: Weights,
        noise: Callable[[], Stream],
    ) -> Weights:
        """Return the next weights.

        Parameters
        ----------
        total
            Sum of the sites' parts, modulo 2^bits [d].
        sites
            Whose parts are in it.
        start
            The weights from which they began.
        noise
            Opens the stream of the coordinator's noise.
        """
        grid = next(iter(self.parts.values())).grid()
        summed = grid.values(total).numpy()
        divisor = float(self.clients) or sum(self.parts[site].weight for site in sites)
        if self.central is not None:
            # σ is of what a client's update may be after rounding, not before.
            reach = grid.l2_sensitivity(self.central.clipping_norm) * grid.spacing
            summed += (
                self.central.noise_multiplier * reach * noise().normals(grid.dimension).numpy()
            )
        shapes = {name: array.shape for name, array in start.items()}
        return moved(start, unflattened(self.scale / divisor * summed, shapes))
