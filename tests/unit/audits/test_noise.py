"""Tests of noise: how rarely they are wrong, and what they see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from audits import levels
from audits.noise import most_alike, too_little, visible_deficit


def test_all_levels_together_are_no_more_than_the_whole():
    assert sum(levels.ALL) <= levels.WHOLE


@pytest.mark.parametrize("size", [50, 1000])
def test_honest_noise_is_called_too_little_as_rarely_as_is_said(size):
    chance = np.random.default_rng(0)
    tries = 4000
    wrong = sum(too_little(chance.normal(size=size), 1.0, 0.05) for _ in range(tries))
    # A binomial of 4000 at 5 %: five deviations.
    assert abs(wrong / tries - 0.05) < 5 * np.sqrt(0.05 * 0.95 / tries)


def test_a_fifth_too_little_is_found_in_99_of_100_tries():
    """Of 1000 numbers; the exact power, of a χ² at (1 - 0.2)^-2 times the bound."""
    bound = chi2.ppf(levels.NOISE_AMOUNT, 1000)
    assert chi2.cdf(bound / 0.8**2, 1000) > 0.99
    values = 0.8 * np.random.default_rng(1).normal(size=1000)
    assert too_little(values, 1.0, levels.NOISE_AMOUNT)


@given(st.integers(20, 10**6), st.floats(1e-4, 0.1))
def test_what_is_visible_is_found_with_the_power_that_is_said(count, level):
    deficit = visible_deficit(count, level)
    bound = chi2.ppf(level, count)
    assert chi2.cdf(bound / (1 - deficit) ** 2, count) == pytest.approx(0.99, abs=1e-6)


def test_independent_rows_are_called_alike_as_rarely_as_is_said():
    chance = np.random.default_rng(2)
    tries = 600
    wrong = sum(most_alike(chance.normal(size=(12, 9)))[1] < 0.05 for _ in range(tries))
    # The bound over pairs only errs on the safe side.
    assert wrong / tries < 0.05 + 4 * np.sqrt(0.05 * 0.95 / tries)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_same_noise_twice_is_found_among_many(sign):
    rows = np.random.default_rng(3).normal(size=(200, 10))
    rows[170] = sign * 3 * rows[20]
    alike, chance = most_alike(rows)
    assert alike == pytest.approx(1)
    assert chance < 1e-12


def test_rows_of_nothing_are_like_no_other():
    assert most_alike(np.zeros((5, 4))) == (0.0, 1.0)
