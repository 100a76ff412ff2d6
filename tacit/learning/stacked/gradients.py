"""Each site's sum of clipped per-example gradients, for all sites of a cohort in one pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tacit.learning.per_example import clip_factors, norms_of, usable_losses
from tacit.learning.stacked.parameter import Stacked, run
from tacit.learning.stacked.tape import Tape, Use, unscaled

Sites = slice | torch.Tensor
"""Which of the K sites."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's examples of every site: K sites of B rows, padded to the largest.

    Parameters
    ----------
    features, targets
        [K, B, ...], and [K, B] or [K, B, outputs]. A padded row holds anything.
    present
        bool [K, B]: which rows are no padding.
    """

    features: torch.Tensor
    targets: torch.Tensor
    present: torch.Tensor

    def passes(self, most: int | None) -> Iterator["Batch"]:
        """Cut into parts of at most `most` rows, and at least one of each site; None: no cut."""
        sites, rows = self.present.shape
        width = rows if most is None else max(1, most // sites)
        for start in range(0, rows, width):
            part = slice(start, start + width)
            yield Batch(self.features[:, part], self.targets[:, part], self.present[:, part])

    def by_size(self, most: int | None) -> Iterator[tuple[Sites, "Batch"]]:
        """Bring sites with batches of like size together: at most `most` rows, one site at least.

        What a pass makes then stays in a processor's cache, and little of it is padding. Yields the
        numbers of the sites, and their part of the batch.
        """
        sites, rows = self.present.shape
        if most is None or sites * rows <= most:
            yield slice(None), self
            return
        counts = self.present.sum(1).cpu()
        order = counts.argsort(descending=True, stable=True)
        widths = counts[order].clamp(min=1).tolist()
        first = 0
        while first < sites:
            width = widths[first]
            last = min(sites, first + max(1, most // width))
            chosen: Sites = order[first:last].to(self.present.device)
            if last - first == 1:  # a view, where numbers would make a copy
                chosen = slice(int(order[first]), int(order[first]) + 1)
            yield (
                chosen,
                Batch(
                    self.features[chosen, :width],
                    self.targets[chosen, :width],
                    self.present[chosen, :width],
                ),
            )
            first = last


def stacked_sums(
    model: nn.Module,
    values: Mapping[str, torch.Tensor],
    batch: Batch,
    clipping_norms: torch.Tensor | None,
    precision: torch.dtype = torch.float32,
    loss_scale: float = 1.0,
    at_once: int | None = None,
    into: Mapping[str, torch.Tensor] | None = None,
) -> Mapping[str, torch.Tensor]:
    """Sum each site's gradients, each example's scaled to an L2 norm of at most its site's C.

    Parameters
    ----------
    model
        With the frozen weights, in training mode.
    values
        The trainable weights [K, *shape], by name.
    batch
        The examples.
    clipping_norms
        C of each site [K]; None for the sum of the gradients as they are.
    precision, loss_scale
        As `tacit.learning.local.Compute` has them.
    at_once
        Most rows, padding counted, in one pass of several sites; None for one pass of all.
    into
        Where the sums are written; None for new tensors.

    Returns
    -------
    mapping
        fp32 [K, *shape] for each trainable weight, as `tacit.learning.local.clipped_sum` and
        `plain_sum` give them for one site.

    Raises
    ------
    NoRule
        The model does something with a trainable weight that this engine does not know.
    """
    if into is None:
        into = {name: torch.empty_like(value) for name, value in values.items()}
    for sites, part in batch.by_size(at_once):
        own = {name: value[sites] for name, value in values.items()}
        clips = None if clipping_norms is None else clipping_norms[sites]
        for name, sums in _sums(model, own, part, clips, precision, loss_scale).items():
            into[name][sites] = sums
    return into


def _sums(
    model: nn.Module,
    values: Mapping[str, torch.Tensor],
    batch: Batch,
    clipping_norms: torch.Tensor | None,
    precision: torch.dtype,
    loss_scale: float,
) -> dict[str, torch.Tensor]:
    """Sum in one pass of all sites."""
    sites, rows = batch.present.shape
    tape = Tape(sites, sites * rows)
    held: Mapping[str, Stacked] = {}

    def scores_of(features: torch.Tensor) -> torch.Tensor:
        nonlocal held
        scores, held = run(model, values, tape, features)
        return scores

    losses, usable = usable_losses(
        scores_of, batch.features.flatten(0, 1), batch.targets.flatten(0, 1), precision
    )
    usable = usable & batch.present.flatten()
    loss = (losses * batch.present.flatten() * loss_scale).sum()
    if clipping_norms is None:
        found = torch.autograd.grad(
            loss, [weight.value for weight in held.values()], materialize_grads=True
        )
        return {
            name: unscaled(gradient, loss_scale) for name, gradient in zip(held, found, strict=True)
        }
    return clipped_totals(tape.backward(loss, loss_scale), usable, clipping_norms, values)


def clipped_totals(
    uses: Mapping[str, Sequence[Use]],
    usable: torch.Tensor,
    clipping_norms: torch.Tensor,
    values: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Clip each example's gradient over all weights taken together, and sum by site.

    Parameters
    ----------
    uses
        Of each weight, by name; a weight without one gets zeros.
    usable
        bool [N]: which rows count.
    clipping_norms
        C of each site [K].
    values
        The weights [K, *shape].
    """
    factors = _factors(uses, usable, clipping_norms)
    return {name: _total(uses.get(name, ()), factors, value) for name, value in values.items()}


def _factors(
    uses: Mapping[str, Sequence[Use]], usable: torch.Tensor, clipping_norms: torch.Tensor
) -> torch.Tensor:
    """Return by what each example's gradient is multiplied: [K, B].

    A row that is unusable, and a gradient that is not finite, counts as zero.
    """
    sites = len(clipping_norms)
    every = [use for found in uses.values() for use in found]
    squares = torch.zeros(len(usable), dtype=torch.float64, device=usable.device)
    for use in every:
        squares += use.squares().double()
    if bool((odd := ~torch.isfinite(squares)).any()):
        squares[odd] = _exact_squares(every, odd)
        lost = ~torch.isfinite(squares)
        usable = usable & ~lost
        for use in every:
            use.drop(lost)
    # The ghost trick can end a little below zero where terms cancel.
    norms = squares.clamp(min=0).sqrt().float().view(sites, -1)
    return clip_factors(norms, clipping_norms.view(-1, 1)) * usable.view(sites, -1)


def _exact_squares(uses: Sequence[Use], rows: torch.Tensor) -> torch.Tensor:
    """Return squared norms in fp64 of a few examples, infinite where a gradient is not finite."""
    numbers = rows.nonzero().squeeze(1)
    gradients = [use.per_example(numbers) for use in uses]
    sums = torch.stack([gradient.flatten(1).sum(1) for gradient in gradients])
    finite = torch.isfinite(sums).all(0)
    return torch.where(finite, norms_of(gradients).double().square(), torch.inf)


def _total(uses: Sequence[Use], factors: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if not uses:  # no example's loss depends on this weight
        return torch.zeros_like(like)
    total = uses[0].weighted_sum(factors)
    for use in uses[1:]:
        total = total + use.weighted_sum(factors)
    return total.view(like.shape)
