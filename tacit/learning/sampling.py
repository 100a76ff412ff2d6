"""Which rows a step takes: by a coin for each row or, where a person is the unit, for each person.

Of a person who is drawn at most k rows enter, chosen anew in each step, every choice of k alike.
The choice comes after the coin and is made within one person, so that no ε rests on it: whatever
the rows are, what they add up to is clipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tacit.domains.domain import Examples
from tacit.learning.per_example import Whose
from tacit.learning.plan import RoundPlan
from tacit.privacy.randomness import Stream


@dataclass(frozen=True, slots=True)
class Sample:
    """What one step takes.

    Parameters
    ----------
    rows
        Numbers of its rows: int64 [m].
    whose
        Whose they are, persons numbered within the sample; None where a record is the unit.
    """

    rows: torch.Tensor
    whose: Whose | None = None


class People:
    """Which rows are whose.

    Parameters
    ----------
    persons
        Number of each row's person, from 0 on without gaps: int64 [n].
    """

    def __init__(self, persons: torch.Tensor) -> None:
        self._rows = persons.argsort(stable=True)
        self._counts = persons.bincount()
        self._first = self._counts.cumsum(0) - self._counts

    def __len__(self) -> int:
        return len(self._counts)

    def rows_of(self, drawn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return numbers of the rows of persons drawn (bool [persons]), and of their persons.

        Both int64 [m], one person after the other; persons are numbered among those drawn.
        """
        who = drawn.nonzero().squeeze(1)
        counts = self._counts[who]
        persons = torch.arange(len(who)).repeat_interleave(counts)
        return self._rows[self._first[who][persons] + place_within(persons, counts)], persons


def samples(
    data: Examples, plan: RoundPlan, coins: Stream, choice: Stream | None
) -> Iterator[Sample]:
    """Draw the sample of each step of a round, one when it is asked for.

    Parameters
    ----------
    data
        The site's rows.
    plan
        Its rate, the same for every unit, and how many rows of a person enter.
    coins, choice
        Streams for the Poisson samples, and for the choice of a person's rows; the second is None
        where a record is the unit.

    Raises
    ------
    ValueError
        A person is the plan's unit, and the rows name none, which `tacit.domains.persons` refuses
        before anything is spent.
    """
    if plan.persons is None:
        for _ in range(plan.steps):
            yield Sample(coins.coins(len(data), plan.sampling_rate).nonzero().squeeze(1))
        return
    if data.persons is None or choice is None:
        raise ValueError("privacy.unit=person: these rows do not say whose they are")
    people = People(data.persons)
    for _ in range(plan.steps):
        rows, persons = people.rows_of(coins.coins(len(people), plan.sampling_rate))
        if too_many(persons, plan.persons.rows):
            rows, persons = at_most(rows, persons, plan.persons.rows, choice.words(len(rows)))
        yield Sample(rows, Whose(persons, plan.persons.within))


def too_many(persons: torch.Tensor, most: int) -> bool:
    """Tell whether anybody has more than so many rows; persons [m] as `People` gives."""
    return len(persons) > most and int(persons.bincount().max()) > most


def at_most(
    rows: torch.Tensor, persons: torch.Tensor, most: int, keys: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep of each person the rows with the smallest keys.

    Keys that are independent and of one law make every choice of a person's rows as likely as any
    other of as many.

    Parameters
    ----------
    rows, persons
        As `People.rows_of` gives them, [m].
    most
        How many rows a person keeps; one with fewer keeps all.
    keys
        Random numbers [m].
    """
    order = keys.argsort(stable=True)
    # By person, and within a person by key: persons come out as they were.
    order = order[persons[order].argsort(stable=True)]
    kept = place_within(persons, persons.bincount()) < most
    return rows[order][kept], persons[kept]


def place_within(persons: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Number each person's rows from 0 on: persons [m] ascending, counts [persons] of theirs."""
    return torch.arange(len(persons)) - (counts.cumsum(0) - counts)[persons]
