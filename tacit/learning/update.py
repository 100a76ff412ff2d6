"""What a round of training adds to the model, as one vector over all its trainable weights."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tacit.models.trainable import Weights

Update = Mapping[str, NDArray[np.float64]]
"""Differences of trainable weights, by name."""


def clipped_update(weights: Weights, start: Weights, clipping_norm: float) -> Update:
    """Return ``weights - start``, scaled to an L2 norm of at most `clipping_norm` over all of it.

    What is not finite counts as no update at all.

    Parameters
    ----------
    weights, start
        After and before, of the same names and shapes.
    clipping_norm
        C.
    """
    update = {name: array - start[name].astype(np.float64) for name, array in weights.items()}
    norm = np.sqrt(sum(float(np.square(part).sum()) for part in update.values()))
    if not np.isfinite(norm):
        return {name: np.zeros_like(part) for name, part in update.items()}
    # McMahan et al. 2018, arXiv 1710.06963, section 2.2: flat clipping.
    factor = min(1.0, clipping_norm / norm) if norm else 1.0
    return {name: part * factor for name, part in update.items()}


def moved(start: Weights, update: Update) -> Weights:
    """Return the weights after an update, as fp32."""
    return {name: (array + update[name]).astype(np.float32) for name, array in start.items()}
