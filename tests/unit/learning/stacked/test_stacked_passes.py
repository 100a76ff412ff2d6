"""Sites brought together by the size of their batches get what one pass of all gives them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stacked_models import MODELS, by_hand, error, make

from tacit.learning.local import Compute
from tacit.learning.stacked.gradients import stacked_sums
from tacit.learning.stacked.trial import Means, choose

CPU = Compute(torch.device("cpu"))
TOLERANCE = 1e-5

counts = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    counts=counts,
    most=st.integers(1, 12),
    private=st.booleans(),
    seed=st.integers(0, 9),
)
def test_sums_are_those_of_a_loop(name, counts, most, private, seed):
    model, values, batch = make(name, counts, seed)
    clips = torch.linspace(0.1, 0.5, len(counts)) if private else None
    expected, _ = by_hand(model, values, batch, clips)
    found = stacked_sums(model, values, batch, clips, at_once=most)
    assert error(found, expected) < TOLERANCE


@given(counts=counts, most=st.integers(1, 40))
def test_every_site_has_its_rows_in_one_part(counts, most):
    _, _, batch = make("linear", counts)
    seen = torch.zeros(len(counts), dtype=torch.int64)
    for sites, part in batch.by_size(most):
        own = batch.present[sites]
        assert part.present.sum() == own.sum()
        assert torch.equal(part.present.sum(1), own.sum(1))
        assert part.present.numel() <= max(most, part.present.shape[1])
        seen[sites] += 1
    assert (seen == 1).all()


def test_one_large_batch_does_not_pad_all_others():
    _, _, batch = make("linear", [5, 1, 1, 1, 1, 1])
    parts = [part.present for _, part in batch.by_size(5)]
    assert [tuple(part.shape) for part in parts] == [(1, 5), (5, 1)]


def test_sums_go_where_they_are_asked_to():
    model, values, batch = make("mlp", [3, 0, 5])
    into = {name: torch.full_like(value, torch.nan) for name, value in values.items()}
    found = stacked_sums(model, values, batch, None, at_once=4, into=into)
    assert found is into
    assert error(into, by_hand(model, values, batch, None)[0]) < TOLERANCE


@pytest.mark.parametrize(("width", "rows"), [(4, (3 << 19) // 11), (1_000_000, 1)])
def test_rows_of_a_pass_follow_from_how_much_layers_make(width, rows):
    layers = torch.nn.Linear(2, width), torch.nn.ReLU(), torch.nn.Linear(width, 3)
    found = choose(torch.nn.Sequential(*layers), (2,), CPU, private=False)
    assert found.means is Means.STACKED
    assert found.sums_of.keywords["at_once"] == rows
