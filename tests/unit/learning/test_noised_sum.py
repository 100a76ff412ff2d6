"""A site's part of a shared sum: what a row can move in it, what it says, and its noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning import shared
from tacit.learning.local import Compute, clipped_sum
from tacit.learning.plan import Part, Persons, RoundPlan, Share, Within
from tacit.learning.shared import noised_sum
from tacit.privacy.events import Unit
from tacit.privacy.randomness import Stream

CPU = Compute(torch.device("cpu"))
ROWS = 12
DIMENSION = 5 * 3 + 3
PART = Part(bits=32, spacing=2.0**-20, dimension=DIMENSION, sites=4, largest=2**24, weight=0.25)
SHARE = Share(variance=2.0**16, honest=2)
PLAN = RoundPlan(1, 1.0, float(ROWS), 0.5, clipping_norm=0.7, part=PART, share=SHARE)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(5, 3)


def rows(number=ROWS, scale=3.0):
    generator = torch.Generator().manual_seed(1)
    features = scale * torch.randn(number, 5, generator=generator)
    return Examples(features, torch.randint(3, (number,), generator=generator))


def surprising(model, number=ROWS):
    """Rows of which the model is sure and wrong: their gradients are long."""
    features = rows(number, scale=1000.0).features
    return Examples(features, model(features).argmin(1))


def sent(model, data, plan=PLAN, seed=0):
    streams = {
        name: Stream.seeded(seed, "ward", 1, name)
        for name in ("coins", "choice", "noise", "rounding", "layers")
    }
    return noised_sum(model, data, plan, plan.part, plan.share, compute=CPU, **streams)


@pytest.fixture
def silent(monkeypatch):
    """Let the share of noise be zero."""
    monkeypatch.setattr(
        shared, "skellam", lambda stream, variance, n: torch.zeros(n, dtype=torch.int64)
    )


def test_a_row_moves_the_sum_by_its_sensitivity_at_most(model, silent):
    grid, data = PART.grid(), surprising(model)
    bound = grid.l2_sensitivity(PLAN.unit_norm)
    assert bound == pytest.approx(0.25 * 0.7 / ROWS / PART.spacing, rel=0.01)
    for one in range(ROWS):
        alone = sent(model, Examples(data.features[one : one + 1], data.targets[one : one + 1]))
        length = np.linalg.norm(grid.values(alone).numpy()) / PART.spacing
        assert 0.98 * bound < length <= bound


def test_a_person_moves_the_sum_by_its_sensitivity_at_most(model, silent):
    """With many rows, each longer than C: they are clipped and rounded as one."""
    grid, plan = PART.grid(), replace(PLAN, unit=Unit.PERSON, persons=Persons(9, Within.SUM))
    one = replace(surprising(model, 9), persons=torch.zeros(9, dtype=torch.int64))
    bound = grid.l2_sensitivity(plan.unit_norm)
    length = np.linalg.norm(grid.values(sent(model, one, plan)).numpy()) / PART.spacing
    assert 0.98 * bound < length <= bound


def test_planted_a_row_that_nobody_clips_is_found(model, silent, monkeypatch):
    bound = PART.grid().l2_sensitivity(PLAN.unit_norm)
    monkeypatch.setattr("tacit.privacy.grid.clipped", lambda vectors, norm: vectors.double())
    monkeypatch.setattr("tacit.privacy.grid.Grid.squared_sensitivity", lambda grid, norm: 2**61)
    found = sent(model, surprising(model, 1))
    assert np.linalg.norm(PART.grid().values(found).numpy()) / PART.spacing > bound


def test_without_noise_it_is_the_clipped_sum(model, silent):
    data = rows()
    found = PART.grid().values(sent(model, data)).numpy()
    sums = clipped_sum(model, data.features, data.targets, 0.7, CPU)
    expected = torch.cat([each.flatten() for each in sums]).numpy() * 0.25 / ROWS
    # Each row is rounded to the next multiple either way.
    np.testing.assert_allclose(found, expected, atol=ROWS * PART.spacing)


def test_the_share_has_its_variance_and_an_empty_sample_is_all_noise(model):
    few = replace(PLAN, sampling_rate=1e-9)
    drawn = np.concatenate(
        [sent(model, rows(), few, seed).astype(np.int32) for seed in range(300)]
    ).astype(np.float64)
    # Of n draws near a normal the variance is off by √(2 / n): five of these.
    assert drawn.var() == pytest.approx(2.0**16, rel=5 * np.sqrt(2 / len(drawn)))
    assert abs(drawn.mean()) < 5 * 2.0**8 / np.sqrt(len(drawn))


def test_rows_that_cannot_be_used_count_as_nothing(model, silent):
    data = rows()
    odd = Examples(
        torch.cat([data.features, torch.full((1, 5), torch.nan)]),
        torch.cat([data.targets, torch.tensor([99])])[: ROWS + 1],
    )
    grid = PART.grid()
    one, other = (grid.values(sent(model, each)).numpy() for each in (data, odd))
    np.testing.assert_allclose(one, other, atol=2 * ROWS * PART.spacing)


def test_in_passes_it_is_the_same_to_a_rounding(model, silent, monkeypatch):
    whole = PART.grid().values(sent(model, rows())).numpy()
    monkeypatch.setattr(shared, "_ENTRIES_AT_ONCE", 5 * DIMENSION)
    cut = PART.grid().values(sent(model, rows())).numpy()
    np.testing.assert_allclose(whole, cut, atol=2 * ROWS * PART.spacing)
