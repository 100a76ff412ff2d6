"""A round of training for many sites at once: what `tacit.learning.local` does for one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch

from tacit.domains.domain import Examples
from tacit.errors import ConfigurationError
from tacit.learning.canaries import CanaryRound, clipped_sums
from tacit.learning.optimizer import direction
from tacit.learning.plan import LocalOptimizer, Persons, RoundPlan
from tacit.learning.stacked.gradients import Batch
from tacit.learning.stacked.persons import PersonBatches, count_of
from tacit.privacy.randomness import Stream, normals_of

_NORMALS_AT_ONCE: Final = 1 << 18
"""Normals (1 MB) that are drawn in one call."""


class Sums(Protocol):
    """Gives each site's summed gradients."""

    def __call__(
        self,
        values: Mapping[str, torch.Tensor],
        batch: Batch,
        clipping_norms: torch.Tensor | None,
        *,
        into: Mapping[str, torch.Tensor] | None = None,
    ) -> Mapping[str, torch.Tensor]:
        """Sum from weights [K, *shape], each C or None; see `stacked_sums`."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """One site of a cohort.

    Parameters
    ----------
    size
        How many rows it has.
    plan
        What it computes.
    coins, noise
        Streams for its Poisson samples and its noise; without privacy there is none.
    canaries
        Records of an audit, in a private round.
    persons, choice
        Whose each row is (int64 [size]), and the stream for which rows of a person enter, where a
        person is the unit.
    """

    size: int
    plan: RoundPlan
    coins: Stream
    noise: Stream | None
    canaries: CanaryRound | None = None
    persons: torch.Tensor | None = None
    choice: Stream | None = None

    @property
    def units(self) -> int:
        """How many coins it tosses for a step."""
        return self.size if self.persons is None else count_of(self.persons)


def train_cohort(
    sums_of: Sums,
    rows: Examples,
    members: Sequence[Member],
    weights: Mapping[str, torch.Tensor],
    microbatch: int | None = None,
    on_step: Callable[[int], None] = lambda begun: None,
) -> dict[str, torch.Tensor]:
    """Train every site of a cohort for one round.

    A site's steps, sampling rate, divisor, learning rate, C, σ and μ are its own.

    Parameters
    ----------
    sums_of
        Computes summed gradients: see `tacit.learning.stacked.gradients.stacked_sums`.
    rows
        The rows of all members, one member after the other, on the device.
    members
        The sites; all with privacy or all without, of one unit, and of one optimizer.
    weights
        Where each begins: [K, *shape] by name, on the device.
    microbatch
        Most examples of all sites in one pass (at least one of each); None for all at once.
    on_step
        Called with the number of steps begun, before each step touches data.

    Returns
    -------
    dict
        Each site's trained weights [K, *shape], as views of one tensor.
    """
    private, optimizer, persons = _kind_of(members)
    directions = direction(optimizer)
    columns = _Columns(members, rows.features.device)
    batch_of = _batches(rows, members, columns, persons)
    flat = torch.cat([value.reshape(len(members), -1) for value in weights.values()], 1)
    values = _views(flat, weights)
    # Tensors of all weights of all sites are made once: new memory costs more than the arithmetic.
    total = torch.empty_like(flat)
    sums = _views(total, weights)
    first = flat.clone() if columns.proximal is not None else None
    drawn = _draw(members)
    for step, picked in enumerate(drawn, start=1):
        on_step(step)
        batch = batch_of(picked)
        clips = columns.clips if private else None
        for number, part in enumerate(batch.passes(microbatch)):
            if number == 0:
                sums_of(values, part, clips, into=sums)
                continue
            for name, more in sums_of(values, part, clips).items():
                sums[name] += more
        if private:
            _add_noise(total, [member.noise for member in members], columns.deviations)
            _hear_canaries(step, members, columns.deviations)
        turned = directions(total.div_(columns.divisors))
        rate = columns.rates * (step <= columns.steps)
        if first is not None and columns.proximal is not None:
            # w - ημ(w - w₀), eq. 2 of Li et al. 2020: see tacit.learning.local.
            pulls = columns.proximal * (step <= columns.steps)
            flat.lerp_(first, pulls.unsqueeze(1).expand_as(flat))
        flat.addcmul_(turned, rate.unsqueeze(1), value=-1)
    return values


class _Columns:
    """What differs between sites, as a column [K] each."""

    def __init__(self, members: Sequence[Member], device: torch.device) -> None:
        plans = [member.plan for member in members]

        def column(values: Sequence[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        self.steps = torch.tensor([plan.steps for plan in plans], device=device)
        self.rates = column([plan.learning_rate for plan in plans])
        self.divisors = column([plan.divisor for plan in plans]).unsqueeze(1)
        clips = [plan.clipping_norm or 0.0 for plan in plans]
        self.clips = column(clips)
        self.deviations = column(
            [(plan.noise_multiplier or 0.0) * c for plan, c in zip(plans, clips, strict=True)]
        ).unsqueeze(1)
        self.proximal = (
            column([plan.learning_rate * plan.proximal_mu for plan in plans])
            if any(plan.proximal_mu for plan in plans)
            else None
        )
        sizes = torch.tensor([member.size for member in members])
        self.site = torch.arange(len(members)).repeat_interleave(sizes)


def _kind_of(members: Sequence[Member]) -> tuple[bool, LocalOptimizer, Persons | None]:
    """Return whether a cohort trains with privacy, by which optimizer, and how persons do."""
    kinds = {(m.plan.clips_gradients, m.plan.optimizer, m.plan.persons) for m in members}
    if len(kinds) > 1:
        raise ConfigurationError(
            "a cohort trains with privacy or without, for one unit, and by one optimizer: these "
            "sites differ"
        )
    return kinds.pop()


def _draw(members: Sequence[Member]) -> torch.Tensor:
    """Toss every site's coins for all its steps: bool [steps, units of all members]."""
    steps = max(member.plan.steps for member in members)
    units = [member.units for member in members]
    found = torch.zeros(steps, sum(units), dtype=torch.bool)
    start = 0
    for member, count in zip(members, units, strict=True):
        # Coins follow one another: a site's are those that it would toss step by step.
        own = member.plan.steps
        tossed = member.coins.coins(own * count, member.plan.sampling_rate)
        found[:own, start : start + count] = tossed.view(own, count)
        start += count
    return found


def _batches(
    rows: Examples, members: Sequence[Member], columns: _Columns, persons: Persons | None
) -> Callable[[torch.Tensor], Batch]:
    """Return what makes a step's batch of the units that were drawn: bool [units]."""
    if persons is None:
        return lambda picked: _batch(rows, members, picked, columns)
    whose = [member.persons for member in members if member.persons is not None]
    choices = [member.choice for member in members if member.choice is not None]
    if not len(whose) == len(choices) == len(members):
        raise ValueError("privacy.unit=person: a site's rows do not say whose they are")
    return PersonBatches(rows, whose, choices, persons)


def _batch(
    rows: Examples, members: Sequence[Member], picked: torch.Tensor, columns: _Columns
) -> Batch:
    """Gather the rows that a step has drawn, padded to the site that drew most."""
    chosen = picked.nonzero().squeeze(1)
    site = columns.site[chosen]
    counts = site.bincount(minlength=len(members))
    width = max(1, int(counts.max()))
    place = torch.arange(len(chosen)) - (counts.cumsum(0) - counts)[site]
    numbers = torch.zeros(len(members), width, dtype=torch.int64)
    present = torch.zeros(len(members), width, dtype=torch.bool)
    numbers[site, place] = chosen
    present[site, place] = True
    return Batch.of(rows, numbers, present)


def _add_noise(
    total: torch.Tensor, streams: Sequence[Stream | None], deviations: torch.Tensor
) -> None:
    """Add each site's own Gaussian noise of standard deviation σC [K, 1] to its sums [K, P]."""
    # Some sites at a time: the noise of all would take as much memory as their weights.
    at_once = max(1, _NORMALS_AT_ONCE // max(1, total.shape[1]))
    for first in range(0, len(streams), at_once):
        part = slice(first, first + at_once)
        own = [stream for stream in streams[part] if stream is not None]
        drawn = normals_of(own, total.shape[1])
        total[part].addcmul_(drawn.to(total.device), deviations[part])


def _hear_canaries(step: int, members: Sequence[Member], deviations: torch.Tensor) -> None:
    """Do the step for the canaries of each site that has any."""
    carried = [
        (place, member.canaries)
        for place, member in enumerate(members)
        if member.canaries is not None and step <= member.plan.steps
    ]
    if not carried:
        return
    places, canaries = [place for place, _ in carried], [own for _, own in carried]
    beside = clipped_sums(canaries, [members[place].plan for place in places])
    _add_noise(beside, [own.stream for own in canaries], deviations[places].cpu())
    for own, sums in zip(canaries, beside.unbind(), strict=True):
        own.hear(sums)


def _views(flat: torch.Tensor, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """View columns of [K, P] as weights [K, *shape]."""
    found, start = {}, 0
    for name, value in like.items():
        width = value[0].numel()
        # A view, whose writes are the writes of `flat`.
        found[name] = flat[:, start : start + width].view(value.shape)
        start += width
    return found
