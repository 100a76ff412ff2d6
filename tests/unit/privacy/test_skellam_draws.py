"""Draws of Skellam noise against its law, and faulty samplers that the checks must find.

A statistical check allows five standard errors, or p = 1e-6: a right sampler fails one check in two
million seeds, and the seeds here are fixed.
"""

import math

import numpy as np
import pytest
from randomness_example import seeded
from scipy import stats

from tacit.privacy.skellam import skellam

N = 1_000_000
LEVEL = 1e-6
SMALL = [2.0**-4, 1.0, 30.0, 1000.0]
LARGE = [2.0**16, 2.0**32, 2.0**40, 2.0**54]


def drawn(variance, n=N, **names):
    return skellam(seeded(**names), variance, n).numpy()


def fits(sample, variance):
    """p of a χ² test against scipy's law, over all places that are expected ten times."""
    places = np.arange(-(most := math.ceil(9 * math.sqrt(variance)) + 9), most + 1)
    expected = stats.skellam.pmf(places, variance / 2, variance / 2) * len(sample)
    found = np.histogram(sample, np.append(places, most + 1) - 0.5)[0]
    common = expected >= 10
    rest = len(sample) - expected[common].sum(), len(sample) - found[common].sum()
    return float(stats.chisquare([*found[common], rest[1]], [*expected[common], rest[0]]).pvalue)


def variance_error(sample, variance):
    """Standard errors between a sample's second moment and μ: E x⁴ = 3μ² + μ."""
    second = np.mean(np.square(sample, dtype=float))
    return (second - variance) / math.sqrt((2 * variance**2 + variance) / len(sample))


def correlation_errors(*samples):
    """Standard errors of each pair's correlation from 0."""
    correlations = np.corrcoef(np.stack(samples).astype(float))
    pairs = correlations[np.triu_indices(len(samples), 1)]
    return pairs * math.sqrt(samples[0].size)


@pytest.mark.parametrize("variance", SMALL)
def test_each_place_is_as_frequent_as_it_should_be(variance):
    assert fits(drawn(variance), variance) > LEVEL


@pytest.mark.parametrize("variance", LARGE)
def test_a_large_variance_is_as_good_as_gaussian(variance):
    """The laws are 1/(100 μ) apart, and their steps 1/σ: with 10⁶ draws neither shows."""
    sample = drawn(variance) + (seeded(purpose="dither").normals(N).numpy() * 0.3)
    assert stats.kstest(sample / math.sqrt(variance + 0.09), "norm").pvalue > LEVEL


@pytest.mark.parametrize("variance", SMALL + LARGE)
def test_mean_and_variance(variance):
    sample = drawn(variance, seed=3)
    assert abs(sample.mean(dtype=float)) < 5 * math.sqrt(variance / N)
    assert abs(variance_error(sample, variance)) < 5


@pytest.mark.parametrize("variance", SMALL)
def test_the_fourth_moment(variance):
    """Cumulants of even order are all μ: the fourth moment is 3μ² + μ."""
    powers = drawn(variance, seed=4).astype(float) ** 4
    error = powers.std() / math.sqrt(N)
    assert abs(powers.mean() - (3 * variance**2 + variance)) < 5 * error


@pytest.mark.parametrize("variance", [30.0, *LARGE])
@pytest.mark.parametrize("deviations", [2.5, 3.5, 4.5])
def test_the_tails_hold_what_they_should(variance, deviations):
    least = math.ceil(deviations * math.sqrt(variance))
    if variance < 100:
        chance = 2 * stats.skellam.sf(least - 1, variance / 2, variance / 2)
    else:
        chance = 2 * stats.norm.sf((least - 0.5) / math.sqrt(variance))
    found = int((np.abs(drawn(variance, seed=5)) >= least).sum())
    assert stats.binomtest(found, N, chance).pvalue > LEVEL


@pytest.mark.parametrize("variance", [1.0, 2.0**24])
def test_nothing_goes_together(variance):
    """Not coordinates of one draw, nor sites, nor steps, nor a stream's next call."""
    stream = seeded()
    first, second = (skellam(stream, variance, N // 4).numpy() for _ in range(2))
    others = [{"site": "hospital_b"}, {"round": 1}, {"purpose": "coins"}, {"seed": 1}]
    samples = [first, second, *(drawn(variance, N // 4, **names) for names in others)]
    assert np.abs(correlation_errors(*samples)).max() < 5
    assert np.abs(correlation_errors(*(abs(sample) for sample in samples))).max() < 5
    for lag in (1, 2, 13, 14, 4096, 8192):
        assert np.abs(correlation_errors(first[lag:], first[:-lag])).max() < 5
        assert np.abs(correlation_errors(abs(first[lag:]), abs(first[:-lag]))).max() < 5


@pytest.mark.parametrize("shares", [2, 4, 11])
def test_shares_add_up_to_one_draw(shares):
    total = sum(drawn(7.5 / shares, 300_000, site=f"site_{i}") for i in range(shares))
    assert fits(total, 7.5) > LEVEL


# Faults


@pytest.mark.parametrize("factor", [0.5, 0.98, 1.02, 2.0])
@pytest.mark.parametrize("variance", [30.0, 2.0**32])
def test_noise_of_another_variance_is_found(variance, factor):
    assert abs(variance_error(drawn(variance * factor, seed=3), variance)) > 5


def test_a_gaussian_rounded_to_integers_is_found():
    """The variance is right: only the law is not."""
    normals = seeded().normals(N).double().numpy()
    rounded = np.rint(normals * math.sqrt(1 - 1 / 12))
    assert fits(rounded, 1.0) < LEVEL


def test_a_cut_tail_is_found():
    sample = drawn(2.0**24)
    sample = sample[np.abs(sample) < 3.5 * 2**12]
    assert fits(np.clip(drawn(30.0), -19, 19), 30.0) < LEVEL
    assert stats.binomtest(0, len(sample), 2 * stats.norm.sf(3.5)).pvalue < LEVEL


def test_a_repeated_stream_is_found():
    """Two sites, or two steps, under one key: their noise cancels in a difference."""
    assert correlation_errors(drawn(2.0**24, 1000), drawn(2.0**24, 1000)).max() > 5


def test_a_common_part_of_two_sites_noise_is_found():
    common, a, b = (drawn(2.0**20, 100_000, site=name) for name in ("all", "a", "b"))
    assert correlation_errors(a * 7 + common, b * 7 + common).max() > 5


def test_a_sampler_that_forgets_to_reject_is_found(monkeypatch):
    """The hat in place of the law adds 1 % to the variance at the widest bins."""
    from tacit.privacy import skellam as module

    law = module._Law(2.0**24)
    law.surely[:] = np.uint64(2**64 - 1)
    monkeypatch.setattr(module, "_law", lambda variance: law)
    assert abs(variance_error(drawn(2.0**24, 4 * N), 2.0**24)) > 5
