"""A step's sum where a person is the unit: all of one person's rows are clipped as one."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from person_step import (
    by_hand,
    check_is_the_sum_by_hand,
    check_one_person_moves_the_sum_by_at_most_c,
    make_persons,
    persons_of,
    summed,
)
from private_step import CPU, MODELS, STEP, make, stream, trained

from tacit.domains.domain import Examples
from tacit.learning import local
from tacit.learning.per_example import PerExampleGradients, Whose
from tacit.learning.plan import Persons, Within
from tacit.privacy.events import Unit

WITHIN = pytest.mark.parametrize("within", list(Within))
COUNTS = [3, 1, 4, 1, 5]


@WITHIN
@MODELS
@pytest.mark.parametrize("clip", [1e-3, 1.4, 1e3], ids=["tight", "some", "loose"])
def test_it_is_the_sum_by_hand(name, clip, within):
    check_is_the_sum_by_hand(*make_persons(name, COUNTS), clip, within)


@WITHIN
@pytest.mark.parametrize("microbatch", range(1, 16))
def test_no_pass_cuts_a_person_in_two(microbatch, within):
    compute = replace(CPU, microbatch=microbatch)
    check_is_the_sum_by_hand(*make_persons("mlp", COUNTS), 0.3, within, compute)


@settings(max_examples=15, deadline=None)
@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    within=st.sampled_from(Within),
    clip=st.floats(1e-3, 10),
    scale=st.sampled_from([1e-2, 1.0, 1e3, 1e15]),
    seed=st.integers(0, 99),
)
def test_one_person_moves_the_sum_by_at_most_c(counts, within, clip, scale, seed):
    model, data = make_persons("linear", counts, seed, scale)
    check_one_person_moves_the_sum_by_at_most_c(model, data, clip, within)


@WITHIN
def test_a_person_with_very_many_huge_rows_moves_it_by_at_most_c(within):
    model, data = make_persons("mlp", [60, 2], scale=1e4)
    check_one_person_moves_the_sum_by_at_most_c(model, data, 0.1, within)


@WITHIN
def test_planted_clipping_each_row_is_found(monkeypatch, within):
    """And summing them, accounted as per person."""

    def per_row(self, gradients, part):
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        factors = 0.1 / norms.clamp(min=0.1)
        return [g * factors.view(-1, *[1] * (g.dim() - 1)) for g in gradients]

    model, data = make_persons("mlp", COUNTS, scale=30.0)
    monkeypatch.setattr(Whose, "together", per_row)
    with pytest.raises(AssertionError, match="moves the sum"):
        check_one_person_moves_the_sum_by_at_most_c(model, data, 0.1, within)
    with pytest.raises(AssertionError):
        check_is_the_sum_by_hand(model, data, 0.1, within)


@WITHIN
def test_an_unusable_row_counts_as_zero_among_its_persons(within):
    """A mean is over all of a person's rows, the unusable one too."""
    model, data = make_persons("mlp", [3, 2])
    features = data.features.clone()
    features[1, 0] = torch.nan
    one = torch.zeros(2, dtype=torch.int64)
    first, second = (
        by_hand(model, Examples(data.features[own], data.targets[own], one), 1e9, Within.SUM)
        for own in ([0, 2], [3, 4])
    )
    expected = first / 3 + second / 2 if within is Within.MEAN else first + second
    found = summed(model, replace(data, features=features), 1e9, within)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_sum_that_is_not_finite_counts_as_zero():
    """Of rows whose own gradients are finite."""
    whose = Whose(persons_of([2, 1]), Within.SUM)
    large = torch.full((3, 1), 3e38)
    (found,) = whose.together([large], slice(0, 3))
    assert found[0].item() == 0
    assert torch.equal(found[1], large[2])


@WITHIN
def test_with_one_row_each_a_person_is_a_record(within):
    model, data = make("mlp", 7)
    persons = Persons(4, within)
    plan = replace(STEP, sampling_rate=0.5, steps=3)
    record = trained(model, data, plan)
    person = trained(
        model,
        replace(data, persons=torch.arange(7)),
        replace(plan, unit=Unit.PERSON, persons=persons),
        choice=stream("rows"),
    )
    torch.testing.assert_close(person, record, rtol=1e-5, atol=1e-7)


def test_memory_that_is_short_halves_the_pass(monkeypatch):
    """Down to whole persons: what a person is does not change by it."""
    model, data = make_persons("linear", COUNTS)
    honest, asked = PerExampleGradients.__call__, []

    def short(self, features, targets):
        asked.append(len(features))
        if len(features) > 5:
            raise torch.cuda.OutOfMemoryError
        return honest(self, features, targets)

    expected = summed(model, data, 0.3, Within.MEAN)
    monkeypatch.setattr(local.PerExampleGradients, "__call__", short)
    found = summed(model, data, 0.3, Within.MEAN)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert asked[0] == len(data)
    assert max(asked[-3:]) <= 5
