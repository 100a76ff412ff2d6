"""Batches of whole persons, for all sites of a cohort."""

from collections.abc import Sequence

import torch

from tacit.domains.domain import Examples
from tacit.learning.plan import Persons, Within
from tacit.learning.sampling import People, at_most, place_within, too_many
from tacit.learning.stacked.gradients import Batch
from tacit.privacy.randomness import Stream


class PersonBatches:
    """Makes the batch of a step of those who were drawn for it.

    A site's persons, and their rows, are those that `tacit.learning.sampling.samples` would draw
    for it alone.

    Parameters
    ----------
    rows
        Of all K sites, one site after the other, on the device.
    persons
        Number of each row's person, site by site: int64 [rows of the site] each.
    choices
        Each site's stream for the choice of a person's rows.
    plan
        How rows become a person's gradient.
    """

    def __init__(
        self,
        rows: Examples,
        persons: Sequence[torch.Tensor],
        choices: Sequence[Stream],
        plan: Persons,
    ) -> None:
        self._rows = rows
        self._choices = choices
        self._plan = plan
        counts = torch.tensor([count_of(own) for own in persons])
        sizes = torch.tensor([len(own) for own in persons])
        first = (counts.cumsum(0) - counts).repeat_interleave(sizes)
        self._people = People(torch.cat(list(persons)) + first)
        self._site = torch.arange(len(persons)).repeat_interleave(counts)

    def __call__(self, drawn: torch.Tensor) -> Batch:
        """Gather the rows of persons drawn: bool [persons of all sites]."""
        rows, persons = self._people.rows_of(drawn)
        site = self._site[drawn]
        rows, persons = self._thinned(rows, persons, site[persons])
        counts = persons.bincount(minlength=len(site))
        each = int(counts.max()) if len(counts) else 1
        of_site = site.bincount(minlength=len(self._choices))
        shape = len(self._choices), max(1, int(of_site.max())), each
        place = site[persons], place_within(site, of_site)[persons], place_within(persons, counts)
        numbers, present = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape).bool()
        numbers[place], present[place] = rows, True
        shares = None
        if self._plan.within is Within.MEAN and each > 1:
            shares = torch.zeros(shape)
            shares[place] = (1 / counts)[persons]
            shares = shares.flatten(1)
        return Batch.of(self._rows, numbers.flatten(1), present.flatten(1), each, shares)

    def _thinned(
        self, rows: torch.Tensor, persons: torch.Tensor, site: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep of each person as many rows as the plan lets in."""
        most = self._plan.rows
        if not too_many(persons, most):
            return rows, persons
        keys, start = torch.zeros(len(rows), dtype=torch.int64), 0
        for choice, count in zip(
            self._choices, site.bincount(minlength=len(self._choices)).tolist(), strict=True
        ):
            part = slice(start, start + count)
            # Only where the site alone would draw: its stream goes on from there.
            if too_many(persons[part], most):
                keys[part] = choice.words(count)
            start += count
        return at_most(rows, persons, most, keys)


def count_of(persons: torch.Tensor) -> int:
    """Return how many persons there are: their numbers are from 0 on without gaps."""
    return int(persons.max()) + 1 if len(persons) else 0
