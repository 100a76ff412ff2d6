"""Which rows a step takes where a person is the unit: whole persons, and at most k rows of each."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from private_step import STEP, Recorder, stream
from scipy.stats import chi2

from tacit.domains.domain import Examples
from tacit.learning.plan import Persons, Within
from tacit.learning.sampling import samples
from tacit.privacy.events import Unit


def plan(rows=3, rate=1.0, steps=1):
    persons = Persons(rows, Within.MEAN)
    return replace(STEP, steps=steps, sampling_rate=rate, unit=Unit.PERSON, persons=persons)


def of(*counts, seed=0):
    """Rows of so many persons, all mixed; a row's feature is its number."""
    persons = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts, dtype=torch.int64))
    order = torch.randperm(len(persons), generator=torch.Generator().manual_seed(seed))
    numbers = torch.arange(float(len(persons))).unsqueeze(1)
    return Examples(numbers, torch.zeros(len(persons), dtype=torch.int64), persons[order])


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), max_size=8),
    most=st.integers(1, 9),
    rate=st.sampled_from([0.3, 1.0]),
    seed=st.integers(0, 99),
)
def test_all_who_are_drawn_enter_with_as_many_rows_as_may(counts, most, rate, seed):
    """A coin a person; its own rows, none twice, and all of them where that is not too many."""
    data, coins = of(*counts, seed=seed), Recorder(stream("coins", seed))
    (sample,) = samples(data, plan(most, rate), coins, stream("rows", seed))
    (heads,) = coins.coins_drawn
    assert len(heads) == len(counts)
    whose, drawn = sample.whose.persons, heads.nonzero().squeeze(1)
    assert torch.equal(data.persons[sample.rows], drawn[whose])
    assert len(sample.rows.unique()) == len(sample.rows)
    expected = [min(most, counts[person]) for person in drawn]
    assert whose.bincount().tolist() == expected
    assert whose.tolist() == sorted(whose.tolist())


def test_every_choice_of_a_persons_rows_is_as_likely_and_made_anew_in_each_step():
    """Two of a person's four rows, beside one whose rows all enter: χ² over 400 steps."""
    data, steps = of(4, 2), 400
    own = (data.persons == 0).nonzero().squeeze(1).tolist()
    drawn = samples(data, plan(2, steps=steps), stream("coins"), stream("rows"))
    found = Counter(
        tuple(sorted(sample.rows[sample.whose.persons == 0].tolist())) for sample in drawn
    )
    pairs = list(itertools.combinations(own, 2))
    assert set(found) == set(pairs)
    mean = steps / len(pairs)
    assert sum((found[pair] - mean) ** 2 / mean for pair in pairs) < chi2.ppf(1 - 1e-6, 5)


def test_the_choice_has_a_stream_of_its_own():
    data = of(5, 1, 7)
    first, again = (
        next(samples(data, plan(2), stream("coins"), stream("rows"))).rows for _ in range(2)
    )
    other = next(samples(data, plan(2), stream("coins"), stream("rows", seed=1))).rows
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rows_that_name_nobody_are_refused():
    data = replace(of(2, 2), persons=None)
    with pytest.raises(ValueError, match="do not say whose they are"):
        next(samples(data, plan(), stream("coins"), stream("rows")))
