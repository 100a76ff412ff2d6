"""Each site's sum of clipped gradients of examples or persons, for a cohort in one pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tacit.domains.domain import Examples
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
    each
        Rows of a person, padded to whoever has most: B is a multiple of it, and person p has the
        rows from p · each on. 1 where each row is a unit by itself.
    shares
        What each row's gradient counts in its person's: float [K, B]; None where it is 1.
    """

    features: torch.Tensor
    targets: torch.Tensor
    present: torch.Tensor
    each: int = 1
    shares: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        rows: Examples,
        numbers: torch.Tensor,
        present: torch.Tensor,
        each: int = 1,
        shares: torch.Tensor | None = None,
    ) -> "Batch":
        """Gather rows by their numbers [K, B]; what is not present has any number there is."""
        device = rows.features.device
        present, numbers = present.to(device), numbers.to(device)
        if shares is not None:
            shares = shares.to(device)
        if len(rows):
            return cls(rows.features[numbers], rows.targets[numbers], present, each, shares)
        features, targets = (
            one.new_zeros(*present.shape, *one.shape[1:]) for one in (rows.features, rows.targets)
        )
        return cls(features, targets, present, each, shares)

    @property
    def units(self) -> torch.Tensor:
        """How many rows or persons each site has [K], padding left out."""
        rows = self.present if self.each == 1 else self.present[:, :: self.each]
        return rows.sum(1)

    def part(self, sites: Sites, rows: slice) -> "Batch":
        """Return some rows of some sites; they cut no person in two."""
        features, targets = self.features[sites, rows], self.targets[sites, rows]
        shares = None if self.shares is None else self.shares[sites, rows]
        return Batch(features, targets, self.present[sites, rows], self.each, shares)

    def passes(self, most: int | None) -> Iterator["Batch"]:
        """Cut into parts of at most `most` rows, and at least one of each site; None: no cut."""
        sites, rows = self.present.shape
        width = rows if most is None else self.each * max(1, most // (sites * self.each))
        for start in range(0, rows, width):
            yield self.part(slice(None), slice(start, start + width))

    def by_size(self, most: int | None) -> Iterator[tuple[Sites, "Batch"]]:
        """Bring sites with batches of like size together: at most `most` rows, one site at least.

        What a pass makes then stays in a processor's cache, and little of it is padding. Yields the
        numbers of the sites, and their part of the batch.
        """
        sites, rows = self.present.shape
        if most is None or sites * rows <= most:
            yield slice(None), self
            return
        counts = self.units.cpu()
        order = counts.argsort(descending=True, stable=True)
        widths = (self.each * counts[order].clamp(min=1)).tolist()
        first = 0
        while first < sites:
            width = widths[first]
            last = min(sites, first + max(1, most // width))
            chosen: Sites = order[first:last].to(self.present.device)
            if last - first == 1:  # a view, where numbers would make a copy
                chosen = slice(int(order[first]), int(order[first]) + 1)
            yield chosen, self.part(chosen, slice(width))
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
    """Sum each site's gradients, each example's or person's scaled to a norm of at most its C.

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
    counted = batch.present if batch.shares is None else batch.shares
    loss = (losses * counted.flatten() * loss_scale).sum()
    if clipping_norms is None:
        found = torch.autograd.grad(
            loss, [weight.value for weight in held.values()], materialize_grads=True
        )
        return {
            name: unscaled(gradient, loss_scale) for name, gradient in zip(held, found, strict=True)
        }
    uses = tape.backward(loss, loss_scale)
    return clipped_totals(uses, usable, clipping_norms, values, batch.each)


def clipped_totals(
    uses: Mapping[str, Sequence[Use]],
    usable: torch.Tensor,
    clipping_norms: torch.Tensor,
    values: Mapping[str, torch.Tensor],
    each: int = 1,
) -> dict[str, torch.Tensor]:
    """Clip each unit's gradient over all weights taken together, and sum by site.

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
    each
        Rows of a unit, one after the other: more than 1 where that is a person.
    """
    units, counted = uses, usable
    if each > 1:
        units, counted = _persons(uses, each), usable.view(-1, each).any(1)
    squares = _squares(units, counted)
    if each > 1 and not bool(torch.isfinite(squares).all()):
        # A row whose own gradient is not finite counts as zero, and its person's others count.
        _settle(uses, _squares(uses, usable))
        units = _persons(uses, each)
        squares = _squares(units, counted)
    _settle(units, squares)
    factors = _factors(squares, counted, clipping_norms)
    return {name: _total(units.get(name, ()), factors, value) for name, value in values.items()}


def _factors(
    squares: torch.Tensor, usable: torch.Tensor, clipping_norms: torch.Tensor
) -> torch.Tensor:
    """Return by what each unit's gradient is multiplied: [K, units]; 0 where it is unusable."""
    sites = len(clipping_norms)
    # The ghost trick can end a little below zero where terms cancel.
    norms = squares.clamp(min=0).sqrt().float().view(sites, -1)
    return clip_factors(norms, clipping_norms.view(-1, 1)) * usable.view(sites, -1)


def _persons(uses: Mapping[str, Sequence[Use]], each: int) -> dict[str, list[Use]]:
    return {name: [use.by_person(each) for use in found] for name, found in uses.items()}


def _squares(uses: Mapping[str, Sequence[Use]], like: torch.Tensor) -> torch.Tensor:
    """Return squared norms of gradients, all weights taken together: fp64, one for each `like`."""
    squares = torch.zeros(len(like), dtype=torch.float64, device=like.device)
    for found in uses.values():
        for use in found:
            squares += use.squares().double()
    return squares


def _settle(uses: Mapping[str, Sequence[Use]], squares: torch.Tensor) -> None:
    """Drop gradients that are not finite, so that they count as zero; squares stay infinite."""
    if bool((odd := ~torch.isfinite(squares)).any()):
        every = [use for found in uses.values() for use in found]
        squares[odd] = _exact_squares(every, odd)
        lost = ~torch.isfinite(squares)
        for use in every:
            use.drop(lost)


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
