"""What a round adds to the model as a site's part of a sum: integers on a public grid."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tacit.learning.plan import Part, RoundPlan
from tacit.models.trainable import Weights
from tacit.privacy.grid import at_random, clipped
from tacit.privacy.randomness import Stream
from tacit.privacy.skellam import skellam


def update_part(
    weights: Weights,
    start: Weights,
    plan: RoundPlan,
    part: Part,
    *,
    rounding: Stream,
    noise: Stream,
) -> NDArray[Any]:
    """Return ``weight × (weights - start)`` on the part's grid, rounded at random.

    Where the unit is the client the update is taken in units of C, clipped, and its rounding held
    to the sensitivity that `Grid.squared_sensitivity` says; the site's share of the noise is added
    where it has one. Elsewhere what is rounded is private already, or public: rounding is free and
    each coordinate is held at what the grid has room for, so that no sum wraps.

    Parameters
    ----------
    weights, start
        After and before the round, of the same names and shapes. A change that is not finite counts
        as none.
    plan, part
        The round's; `part` is the plan's.
    rounding, noise
        Streams of their own.

    Returns
    -------
    ndarray
        Residues modulo 2^bits [dimension], trainable weights one after another in their order.
    """
    grid = part.grid()
    flat = torch.from_numpy(flattened(weights, start)).nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    if plan.clips_update:
        whole = grid.rounded(_clipped(flat, plan)[None], plan.unit_norm, rounding)[0]
    else:
        scaled = flat.mul_(part.weight / grid.spacing)
        whole = at_random(scaled.clamp_(-grid.largest, grid.largest), rounding)
    whole = grid.clamped(whole)
    if plan.share is not None:
        whole += skellam(noise, plan.share.variance, grid.dimension)
    return grid.residues(whole)


def _clipped(flat: torch.Tensor, plan: RoundPlan) -> torch.Tensor:
    """Return a client's update in units of C, with its count where there is one."""
    scaled = flat.div_(plan.clip)
    if not plan.count_weight:
        return scaled  # `Grid.rounded` clips
    unclipped = float(scaled.norm() <= 1)
    count = torch.tensor([plan.count_weight * (unclipped - 0.5)], dtype=torch.float64)
    return torch.cat([clipped(scaled[None], 1.0)[0], count])


def flattened(weights: Weights, start: Weights) -> NDArray[np.float64]:
    """Return ``weights - start`` as one vector [d], in the order of `weights`."""
    pieces = [
        array.ravel() - start[name].ravel().astype(np.float64) for name, array in weights.items()
    ]
    return np.concatenate(pieces)


def unflattened(flat: NDArray[np.float64], shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Cut a vector [d] into arrays by name, in the order of `shapes`."""
    found, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        found[name] = flat[start : start + size].reshape(shape)
        start += size
    return found
