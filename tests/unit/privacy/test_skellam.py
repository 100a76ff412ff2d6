"""Skellam noise: the law by other people's numbers, and a table that draws nothing else."""

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from randomness_example import seeded
from scipy import stats

from tacit.errors import ConfigurationError
from tacit.privacy import skellam as module
from tacit.privacy.skellam import alias_table, skellam
from tacit.privacy.skellam_law import DISTANCE, FRACTION_BITS, exact_pmf, log_tail, reach

VARIANCES = [2.0**-4, 0.7, 1.0, 13.5, 2.0**12, 1e5, 2.0**32, 2.0**40, 2.0**60]
ONE = 2**FRACTION_BITS
KNOWN = {
    1.0: [1, 0, -1, 0, 0, -2, 0, 1, -1, 0, 2, 1],
    2.0**32: [40152, 22612, -79238, 26902],
}


def quick(variances, *some):
    """Mark all but some as slow: the more there is to sum, the longer it takes."""
    return [
        pytest.param(each, marks=[] if each in some else [pytest.mark.slow]) for each in variances
    ]


def law_of(variance):
    return module._Law(variance)


# The law


@pytest.mark.parametrize("variance", [2.0**-4, 0.7, 1.0, 13.5, 4096.0])
@pytest.mark.parametrize("deviations", [0, 1, -2, 6])
def test_the_exact_law_is_scipys(variance, deviations):
    place = round(deviations * math.sqrt(variance))
    wanted = stats.skellam.pmf(place, variance / 2, variance / 2)
    assert exact_pmf(variance, place) / ONE == pytest.approx(wanted, rel=1e-11)


@pytest.mark.parametrize("variance", quick([2.0**-4, 1.0], 2.0**-4))
def test_the_exact_law_has_its_sum_and_variance_to_ninety_digits(variance):
    """What lies beyond the cut is below 2**-300, and its share of the variance hardly above."""
    places = range(-(cut := reach(variance, -300 * math.log(2))), cut + 1)
    law = [exact_pmf(variance, place) for place in places]
    assert abs(sum(law) - ONE) < ONE >> 290
    second = sum(p * k * k for p, k in zip(law, places, strict=True))
    assert abs(Fraction(second, ONE) - Fraction(variance)) < Fraction(1, 2**280)


@pytest.mark.parametrize("variance", VARIANCES)
def test_floating_point_keeps_within_a_twentieth_of_its_allowance(variance):
    law = law_of(variance)
    deviation = math.sqrt(variance)
    places = np.array([0, 1, *(round(z * deviation) for z in (0.1, -0.8, 1.5, 3, -6, 12)), law.cut])
    exact = np.array([exact_pmf(variance, int(place)) / ONE for place in places])
    assert np.abs(law.pmf(places) - exact).max() <= law.error / 20
    assert law.error == pytest.approx(2.0**-44 * exact[0], rel=1e-9)
    assert len(law._points) <= 80


@pytest.mark.parametrize("variance", [2.0**-4, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("deviations", [0, 0.5, 2, 5, 8])
def test_the_tail_is_bounded_and_not_by_much(variance, deviations):
    least = math.ceil(deviations * math.sqrt(variance))
    places = np.arange(least, least + math.ceil(8 * math.sqrt(variance)) + 30)
    true = stats.skellam.pmf(places, variance / 2, variance / 2).sum()
    assert math.exp(log_tail(variance, least)) >= true
    # Chernoff's bound loses about a factor of the distance in deviations, times √(2π).
    assert math.exp(log_tail(variance, least)) <= true * 2.6 * (3 + deviations + least / variance)


@pytest.mark.parametrize("variance", [1e-3, 1.0, 2.0**40, 2.0**60])
def test_the_reach_is_the_least(variance):
    least = reach(variance, -60.0)
    assert log_tail(variance, least) <= -60 < log_tail(variance, least - 1)


def test_a_large_variance_has_the_tail_of_a_gaussian():
    """z²/2, where t/μ is so small that the textbook form of the bound would cancel to nothing."""
    assert log_tail(2.0**60, 10 * 2.0**30) == pytest.approx(-50, rel=1e-12)


@pytest.mark.parametrize(("variance", "log"), [(0, -1), (math.inf, -1), (1, 0), (1, -math.inf)])
def test_there_is_no_tail_out_of_range(variance, log):
    with pytest.raises(ValueError, match="no such tail"):
        reach(variance, log)


# The table


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200).filter(any))
def test_columns_hold_exactly_the_weights(shares):
    weights = [share * (2**63 // sum(shares)) for share in shares]
    weights[0] += 2**63 - sum(weights)
    thresholds, aliases = alias_table(weights)
    held = dict.fromkeys(range(4096), 0)
    for column, (own, alias) in enumerate(zip(thresholds.tolist(), aliases.tolist(), strict=True)):
        assert 0 <= own <= 2**51
        held[column] += own
        held[alias] += 2**51 - own
    assert [held[i] for i in range(4096)] == weights + [0] * (4096 - len(weights))


@pytest.mark.parametrize("variance", quick(VARIANCES, 13.5, 4096.0))
def test_the_table_lies_above_the_law_and_reaches_its_distance(variance):
    law = law_of(variance)
    width = 2**law.shift
    assert sum(law.weights) == 2**63
    assert list(law.starts) == list(range(-law.cut, law.cut, width))
    assert 2 * math.exp(log_tail(variance, law.cut)) <= DISTANCE / 2
    scale = Fraction(law.scale)
    assert scale.denominator == 1  # the exact decision takes it for an integer
    step = max(1, len(law.starts) // 12)
    for b in range(0, len(law.starts), step):
        start = int(law.starts[b])
        nearest = min(start, start + width - 1, key=abs)
        assert scale * width * exact_pmf(variance, nearest) <= law.weights[b] * ONE
        farthest = max(start, start + width - 1, key=abs)
        surely = Fraction(int(law.surely[b]), 2 ** (64 - law.shift))
        assert surely * law.weights[b] * ONE <= scale * width * exact_pmf(variance, farthest)


@pytest.mark.parametrize("variance", VARIANCES)
def test_few_draws_are_rejected_or_looked_at_twice(variance):
    law = law_of(variance)
    assert law.scale / 2**63 > 0.985
    longer = 1 - law.surely / 2.0 ** (64 - law.shift)
    assert np.dot(longer, np.array(law.weights, dtype=float)) / 2**63 < 0.03


@pytest.mark.parametrize("variance", quick([2.0**-4, 1.0, 900.0, 2.0**24], 2.0**-4, 1.0))
def test_what_floating_point_decides_is_what_150_digits_decide(variance, monkeypatch):
    plain = skellam(seeded(), variance, 1000)
    law = law_of(variance)
    law.surely[:] = 0
    law.error *= 2.0**38  # a sixty-fourth of P(0): a band that many fall into
    asked = []
    exactly = module._Law._decide_exactly

    def counting(self, *case):
        asked.append(case)
        return exactly(self, *case)

    monkeypatch.setattr(module._Law, "_decide_exactly", counting)
    monkeypatch.setattr(module, "_law", lambda variance: law)
    assert torch.equal(skellam(seeded(), variance, 1000), plain)
    assert len(asked) > 10


def test_the_exact_decision_splits_where_the_probability_lies():
    law = law_of(2.0**24)
    b = len(law.starts) // 2 + 300
    place = int(law.starts[b]) + 17
    chance = Fraction(int(law.scale) * exact_pmf(law.variance, place), law.weights[b]) * 2**64
    edge = int(chance * 2**384 / ONE)  # of 2**448 / 2**shift values
    for step, kept in ((-1, True), (1, False)):
        high, low = divmod(edge + step, 2**384)
        assert law._decide_exactly(place, b, high, low) is kept
        assert high < 2 ** (64 - law.shift)


# The draws


def test_the_same_key_gives_these_numbers():
    assert skellam(seeded(), 1.0, 12).tolist() == KNOWN[1.0]
    assert skellam(seeded(), 2.0**32, 4).tolist() == KNOWN[2.0**32]


def test_another_process_draws_the_same():
    code = (
        "from tacit.privacy.randomness import Stream; from tacit.privacy.skellam import skellam;"
        "x = skellam(Stream.seeded(0, 'hospital_a', 0, 'noise'), 2.0**30, 20_000);"
        "print(int((x * (1 + x.new_tensor(range(20_000)))).sum()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    drawn = skellam(seeded(), 2.0**30, 20_000)
    assert int(told.stdout) == int((drawn * torch.arange(1, 20_001)).sum())


@pytest.mark.parametrize("n", [0, 1, 8191, 8192, 8193, 20_000])
def test_as_many_as_asked_and_another_stream_other_numbers(n):
    drawn = skellam(seeded(), 2.0**20, n)
    assert drawn.shape == (n,)
    assert drawn.dtype == torch.int64
    assert n < 10 or not torch.equal(drawn, skellam(seeded(round=1), 2.0**20, n))


@pytest.mark.parametrize("variance", [0.0, -1.0, 2.0**-5, 2.0**61, math.nan, math.inf])
def test_a_variance_out_of_range_is_refused(variance):
    with pytest.raises(ConfigurationError, match=r"take a grid on which it is from 0\.0625"):
        skellam(seeded(), variance, 3)


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="n=-1"):
        skellam(seeded(), 1.0, -1)
