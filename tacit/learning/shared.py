"""A site's part of a gradient step that all sites make in one sum, with its share of the noise."""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning.canaries import CanaryRound
from tacit.learning.local import Compute, in_passes, of_units, random_layers
from tacit.learning.per_example import PerExampleGradients
from tacit.learning.plan import Part, RoundPlan, Share
from tacit.learning.sampling import samples
from tacit.privacy.grid import Grid
from tacit.privacy.randomness import Stream
from tacit.privacy.skellam import skellam

_ENTRIES_AT_ONCE = 1 << 24
"""Entries of per-example gradients that are rounded in one pass."""


def noised_sum(
    model: nn.Module,
    data: Examples,
    plan: RoundPlan,
    part: Part,
    share: Share,
    *,
    coins: Stream,
    noise: Stream,
    rounding: Stream,
    layers: Stream,
    compute: Compute,
    choice: Stream | None = None,
    on_step: Callable[[int], None] = lambda begun: None,
    canaries: CanaryRound | None = None,
) -> NDArray[Any]:
    """Return Σ of round(weight ÷ divisor × clipped gradient) over sampled units, plus noise.

    The gradient of every row, or person, is clipped and rounded to the grid by itself: the sum is
    one of integers, and a unit more or less moves it by its own vector alone.

    Parameters
    ----------
    model
        With the round's weights.
    data
        The site's rows.
    plan, part, share
        What to compute; the last two are the plan's.
    coins, noise, rounding, layers
        Streams for the Poisson sample, the noise, the rounding, and for layers that are random; the
        last protects nobody.
    compute
        Where and how.
    choice
        Stream for which rows of a person enter; None where a record is the unit.
    on_step
        Called with 1 before data are touched.
    canaries
        Records of an audit.

    Returns
    -------
    ndarray
        Residues modulo 2^bits [dimension], trainable weights one after another in their order.
    """
    grid = part.grid()
    total = torch.zeros(grid.dimension, dtype=torch.int64)
    factor = part.weight / plan.divisor
    on_step(1)
    sample = next(samples(data, plan, coins, choice))
    features = data.features[sample.rows].to(compute.device)
    targets = data.targets[sample.rows].to(compute.device)
    most = min(compute.microbatch or len(data), max(1, _ENTRIES_AT_ONCE // grid.dimension))
    with (
        random_layers(layers, compute.device),
        PerExampleGradients(model, compute.precision, compute.loss_scale) as per_example,
    ):
        work = of_units(per_example, features, targets, sample.whose)
        for gradients in in_passes(work, len(features), most, sample.whose):
            units = torch.cat([gradient.flatten(1) for gradient in gradients], 1).double()
            total += grid.rounded(units * factor, plan.unit_norm, rounding).sum(0)
    if canaries is not None:
        beside = canaries.rounded_sum(plan, grid)
        canaries.hear(grid.values(_noised(beside, grid, share, canaries.stream)))
    return _noised(total, grid, share, noise)


def _noised(total: torch.Tensor, grid: Grid, share: Share, noise: Stream) -> NDArray[Any]:
    """Add the site's share of the noise, and write what comes out as residues."""
    return grid.residues(grid.clamped(total) + skellam(noise, share.variance, len(total)))
