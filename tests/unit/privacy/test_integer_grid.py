"""The integer grid: exact clipping, rounding within its bound, and sums that cannot wrap."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from randomness_example import seeded
from scipy import stats

from tacit.errors import ConfigurationError
from tacit.privacy import grid as module
from tacit.privacy.grid import RETRY, Grid, at_random, clipped, finest_grid
from tacit.privacy.skellam import skellam
from tacit.privacy.skellam_law import log_tail

GRID = Grid(bits=32, spacing=2.0**-10, dimension=3, sites=4, largest=10**6)


def grid_of(**changes):
    fields = {"bits": 32, "spacing": 1.0, "dimension": 3, "sites": 4, "largest": 1000}
    return Grid(**(fields | changes))


def squared(row):
    return sum(Fraction(value) ** 2 for value in row)


NORMS = st.sampled_from([1.0, 0.1, 3.7, 1e-6, 12345.678])
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-2, 2, width=32)


# Clipping


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(st.lists(FLOATS, min_size=3, max_size=3), max_size=5), norm=NORMS)
def test_no_row_is_longer_than_its_norm_in_exact_arithmetic(rows, norm):
    before = torch.tensor(rows, dtype=torch.float32).view(-1, 3)
    for row, old in zip(clipped(before, norm).tolist(), before.tolist(), strict=True):
        assert squared(row) <= Fraction(norm) ** 2
        if squared(old) < Fraction(norm) ** 2 * Fraction(999, 1000):
            assert row == old


@pytest.mark.parametrize("d", [1, 14, 1000, 100_000])
def test_a_long_row_keeps_its_direction_and_its_whole_norm(d):
    row = torch.randn(1, d, generator=torch.Generator().manual_seed(d)) * 1e3
    after = clipped(row, 1.0)
    assert squared(after[0].tolist()) <= 1
    assert float(after.norm()) == pytest.approx(1, abs=1e-10)
    cosine = float((after @ row.double().T).squeeze()) / float(row.double().norm())
    assert cosine == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_zero(odd):
    rows = torch.tensor([[odd, 3.0, 4.0], [odd, odd, odd], [0.1, 0.2, 0.2]])
    after = clipped(rows, 1.0)
    assert after[0].tolist() == pytest.approx([0, 0.6, 0.8])
    assert after[1].tolist() == [0, 0, 0]
    assert torch.equal(after[2], rows[2].double())
    assert bool(torch.isnan(rows[1]).all() or torch.isinf(rows[1]).all())  # a copy was changed


def test_a_norm_that_overflows_gives_zero():
    assert clipped(torch.tensor([[1e200, 1.0]], dtype=torch.float64), 1.0).tolist() == [[0, 0]]


# Rounding


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(FLOATS, min_size=3, max_size=3), min_size=1, max_size=5),
    norm=NORMS,
    spacing=st.sampled_from([2.0**-8, 1.0, 4.0, 2.0**-20]),
    seed=st.integers(0, 100),
)
def test_a_rounded_row_keeps_within_its_sensitivity_and_a_step(rows, norm, spacing, seed):
    if norm / spacing >= 2**30:
        spacing = 1.0
    grid = grid_of(spacing=spacing)
    vectors = torch.tensor(rows, dtype=torch.float32)
    rounded = grid.rounded(vectors, norm, seeded(seed))
    assert rounded.dtype == torch.int64
    assert int(rounded.square().sum(1).max()) <= grid.squared_sensitivity(norm)
    assert grid.l2_sensitivity(norm) ** 2 >= grid.squared_sensitivity(norm)
    exact = clipped(vectors, norm) / spacing
    assert bool((rounded >= exact.floor()).all() and (rounded <= exact.ceil()).all())


def test_rounding_is_unbiased():
    row = torch.tensor([0.25, -0.7501, 0.123456])
    n = 200_000
    rounded = GRID.rounded(row.expand(n, 3) / 1024, 1.0, seeded()).double()
    error = (rounded.mean(0) - row.double()) / (rounded.std(0) / math.sqrt(n))
    assert float(error.abs().max()) < 5
    correlations = torch.corrcoef(rounded.T)[np.triu_indices(3, 1)] * math.sqrt(n)
    assert float(correlations.abs().max()) < 5


def test_whole_numbers_stay():
    rows = torch.tensor([[1.0, -2.0, 0.0], [-1.0, 0.0, 2.0]])
    assert torch.equal(grid_of().rounded(rows, 3.0, seeded()), rows.long())


@pytest.mark.parametrize(("reach", "d"), [(0.3, 10), (3.0, 400), (50.0, 400), (2000.0, 3)])
def test_few_rows_are_rounded_again(reach, d):
    """Proposition 22: rows of the full norm come out longer than the bound less often than β."""
    grid = grid_of(dimension=d)
    n = 20_000
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = clipped(rows * 1e6, reach)
    once = at_random(rows, seeded())
    longer = int((once.square().sum(1) > grid.squared_sensitivity(reach)).sum())
    assert stats.binom.sf(longer - 1, n, RETRY) > 1e-6


def test_rows_that_came_out_long_are_rounded_again(monkeypatch):
    """With β of almost 1 many are: all end within the bound, with hardly a bias."""
    monkeypatch.setattr(module, "RETRY", 0.9)
    grid = grid_of(dimension=10)
    row = torch.full((50_000, 10), 0.3)
    norm = 0.3 * math.sqrt(10) * 1.0001
    rounded = grid.rounded(row, norm, seeded())
    lengths = rounded.square().sum(1)
    assert int(lengths.max()) <= grid.squared_sensitivity(norm) < 8
    assert len(lengths.unique()) > 2
    assert stats.binom.sf(7, 10, 0.3) > 1e-3  # so that some had to be


def test_a_row_that_never_comes_out_short_is_cut_towards_zero(monkeypatch):
    monkeypatch.setattr(Grid, "squared_sensitivity", lambda grid, norm: 5)
    rows = torch.tensor([[1.5, -2.5, 0.0], [-1.9, 1.9, 1.9], [0.0, 0.0, 0.5]])
    monkeypatch.setattr(module, "at_random", lambda exact, coins: exact.ceil().long() + 1)
    rounded = grid_of().rounded(rows, 10.0, seeded())
    assert rounded.tolist() == [[1, -2, 0], [-1, 1, 1], [0, 0, 0]]


def test_a_number_is_rounded_up_where_its_words_high_bits_are_below_its_fraction():
    n = 40_000
    numbers = torch.linspace(-3, 3, n, dtype=torch.float64)
    # Words are taken as signed numbers, whose order is shifted by half the range.
    words = [(word + 2**63) >> 11 for word in seeded().words(1 << 14).tolist()]
    rounded = at_random(numbers.view(200, 200), seeded()).flatten().tolist()
    for word, number, result in zip(words, numbers.tolist(), rounded, strict=False):
        floor = math.floor(number)
        assert result == floor + (Fraction(word, 2**53) < Fraction(number) - floor)
    assert at_random(torch.zeros(0, 3, dtype=torch.float64), seeded()).shape == (0, 3)


@pytest.mark.parametrize(
    ("norm", "spacing", "words"),
    [(0.0, 1.0, "norm=0.0"), (math.nan, 1.0, "norm=nan"), (math.inf, 1.0, "norm=inf")],
)
def test_a_norm_out_of_range_is_refused(norm, spacing, words):
    with pytest.raises(ConfigurationError, match=words):
        grid_of(spacing=spacing).squared_sensitivity(norm)


def test_a_norm_too_long_for_64_bits_is_refused():
    with pytest.raises(ConfigurationError, match="wider spacing"):
        grid_of(spacing=2.0**-31).squared_sensitivity(1.0)


def test_the_sensitivity_is_the_smaller_bound():
    """By hand: √(2 ln 1024) = 3.7233."""
    assert grid_of(dimension=4).squared_sensitivity(1000.0) == math.floor(
        1e6 + 1 + 3.723297 * (1000 + 1)
    )
    assert grid_of(dimension=1).squared_sensitivity(0.5) == 2  # (0.5 + 1)²


def test_vectors_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 4\) are not \[n, 3\]"):
        GRID.rounded(torch.zeros(2, 4), 1.0, seeded())


# Sums


@settings(max_examples=200, deadline=None)
@given(
    bits=st.sampled_from([16, 32]),
    sites=st.integers(1, 200),
    data=st.data(),
)
def test_sums_without_noise_never_wrap(bits, sites, data):
    largest = ((1 << bits - 1) - 1) // sites
    grid = grid_of(bits=bits, sites=sites, largest=largest, dimension=2)
    extremes = st.sampled_from([largest, -largest, 2**40, -(2**40), 0, 1]) | st.integers(
        -largest, largest
    )
    rows = data.draw(
        st.lists(st.lists(extremes, min_size=2, max_size=2), min_size=1, max_size=sites)
    )
    clamped = [grid.clamped(torch.tensor(row)) for row in rows]
    total = np.zeros(2, dtype=np.uint16 if bits == 16 else np.uint32)
    for vector in clamped:
        total += grid.residues(vector)
    assert grid.values(total).tolist() == sum(clamped).double().tolist()


@pytest.mark.parametrize("bits", [16, 32])
def test_one_more_site_than_fits_is_refused(bits):
    largest = ((1 << bits - 1) - 1) // 4
    assert grid_of(bits=bits, largest=largest).room < 4
    with pytest.raises(ConfigurationError, match=f"do not fit {bits} bits"):
        grid_of(bits=bits, largest=largest + 1)


@settings(max_examples=200)
@given(
    bits=st.sampled_from([16, 32]),
    sites=st.integers(1, 2000),
    reach=st.floats(1e-50, 1e50) | st.sampled_from([1.0, 0.5, 2.0**20]),
)
def test_the_finest_grid_holds_the_reach_and_half_its_spacing_would_not(bits, sites, reach):
    grid = finest_grid(bits, 5, sites, reach)
    assert grid.largest * grid.spacing >= reach
    assert sites * math.ceil(2 * reach / grid.spacing) > 2 ** (bits - 1) - 1


@pytest.mark.parametrize(
    ("bits", "sites", "reach", "words"),
    [
        (16, 40_000, 1.0, "do not fit 16 bits"),
        (32, 4, 0.0, "reach=0.0"),
        (32, 4, math.nan, "reach=nan"),
        (32, 0, 1.0, "sites=0"),
        (24, 4, 1.0, "bits=24"),
    ],
)
def test_no_grid_is_the_finest_out_of_range(bits, sites, reach, words):
    with pytest.raises(ConfigurationError, match=words):
        finest_grid(bits, 5, sites, reach)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20))
def test_residues_come_back_as_the_integers_they_were(numbers):
    residues = GRID.residues(torch.tensor(numbers))
    assert residues.dtype == np.uint32
    assert GRID.values(residues).tolist() == [number / 1024 for number in numbers]
    # Masks go away modulo 2^32.
    masks = np.arange(len(numbers), dtype=np.uint32) * np.uint32(0x9E3779B9)
    assert np.array_equal(residues + masks - masks, residues)


@settings(max_examples=200)
@given(
    st.lists(st.integers(-3000, 3000), min_size=3, max_size=3),
    st.lists(st.integers(-3000, 3000), min_size=3, max_size=3),
)
def test_clamping_brings_no_two_vectors_apart(one, other):
    one, other = torch.tensor(one), torch.tensor(other)
    after = (grid_of().clamped(one) - grid_of().clamped(other)).abs()
    assert bool((after <= (one - other).abs()).all())


@pytest.mark.parametrize("room", [300, 500, 800])
def test_the_chance_to_wrap_is_bounded_and_not_by_much(room):
    """100² of noise in 16 bits, against a Gaussian's tail on both sides of 5 × 20 coordinates."""
    grid = grid_of(bits=16, sites=1, largest=2**15 - 1 - room, dimension=5)
    true = 100 * 2 * stats.norm.sf((room + 0.5) / 100)
    bound = 2 ** grid.log2_wrap_chance(1e4, 20)
    assert true < bound < true * 3 * room / 100
    assert grid.log2_wrap_chance(0.5e4, 20) < grid.log2_wrap_chance(1e4, 20)


def test_both_sides_of_every_coordinate_of_every_sum_are_counted():
    grid = grid_of(bits=16, sites=1, largest=2**15 - 1 - 300, dimension=5)
    one = log_tail(1e4, 301) / math.log(2)
    assert grid.log2_wrap_chance(1e4, 20) == pytest.approx(one + math.log2(2 * 5 * 20))


def test_noise_wraps_about_as_often_as_it_may():
    grid = grid_of(bits=16, sites=1, largest=2**15 - 1 - 300, dimension=1)
    total = grid.largest + skellam(seeded(), 1e4, 10**6)
    wrapped = int((grid.values(grid.residues(total)) < 0).sum())
    # One side of the two that are counted.
    assert stats.binom.sf(wrapped - 1, 10**6, 2 ** grid.log2_wrap_chance(1e4, 1) / 2) > 1e-6
    assert wrapped > 1000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bits": 24}, "bits=24"),
        ({"spacing": 0.3}, "spacing=0.3"),
        ({"spacing": 0.0}, "spacing=0.0"),
        ({"spacing": -1.0}, "spacing=-1.0"),
        ({"spacing": math.inf}, "spacing=inf"),
        ({"spacing": math.nan}, "spacing=nan"),
        ({"spacing": 2.0**201}, "power of two"),
        ({"dimension": 0}, "dimension=0"),
        ({"sites": 0}, "sites=0"),
        ({"largest": 0}, "largest=0"),
    ],
)
def test_a_grid_out_of_range_is_refused(change, words):
    with pytest.raises(ConfigurationError, match=words):
        grid_of(**change)
