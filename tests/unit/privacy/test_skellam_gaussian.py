"""The distance of Skellam from Gaussian noise, and ε from it, against sums over the laws."""

import math
from dataclasses import replace

import numpy as np
import pytest
from dp_accounting import get_sigma_gaussian
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ive, ndtr

from tacit.privacy.accounting import Accountant, epsilon
from tacit.privacy.accounting_skellam import at_a_distance
from tacit.privacy.events import ExactRelease, GaussianSteps, SkellamSteps
from tacit.privacy.shares import Terms, shared_noise
from tacit.privacy.skellam_gaussian import LEAST_VARIANCE, distance_to_gaussian, nearby

NEARBY = Accountant.PLD_NEARBY


def places(variance):
    most = math.ceil(12 * math.sqrt(variance))
    return np.arange(-most, most + 1)


def steps(noise, l2=2.0**25, rate=1.0, count=20, dimension=14):
    return SkellamSteps(l2, (noise * l2) ** 2, dimension, rate, count)


def total_variation(variance, deviation):
    k = places(variance)
    gaussian = ndtr((k + 0.5) / deviation) - ndtr((k - 0.5) / deviation)
    return np.abs(ive(abs(k), variance) - gaussian).sum() / 2


# The distance


@pytest.mark.parametrize("variance", [1000.0, 4321.0, 1e5, 1e6])
def test_the_distance_is_above_the_truth_and_ten_times_it_at_most(variance):
    true = total_variation(variance, math.sqrt(variance - 1 / 12))
    assert true < distance_to_gaussian(variance) < 10 * true
    assert true == pytest.approx(0.0583 / variance, rel=0.01)


def test_a_gaussian_of_another_variance_is_farther():
    assert total_variation(1e4, 100.0) > total_variation(1e4, math.sqrt(1e4 - 1 / 12))
    assert total_variation(1e4, 101.0) > distance_to_gaussian(1e4)


@settings(deadline=None)
@given(st.floats(LEAST_VARIANCE, 2.0**60))
def test_the_distance_falls_about_as_one_over_the_variance(variance):
    assert 0.4 < distance_to_gaussian(variance) * variance < 0.8
    assert distance_to_gaussian(variance * 1.01) < distance_to_gaussian(variance)
    assert distance_to_gaussian(0.99 * LEAST_VARIANCE) == 1


def test_the_series_behind_it_is_as_small_as_said():
    """0 ≤ r ≤ 0.0005 θ⁴ and 1 - cos θ between its first two sums, on a fine mesh."""
    theta = np.linspace(1e-2, math.pi, 100_000)
    r = -np.log(np.sin(theta / 2) / (theta / 2)) - theta**2 / 24
    assert (r >= 0).all()
    assert (r <= 0.0005 * theta**4).all()
    fall = 1 - np.cos(theta)
    assert (fall <= theta**2 / 2).all()
    assert (fall >= theta**2 / 2 - theta**4 / 24).all()
    assert (fall[theta <= 1] >= 11 / 24 * theta[theta <= 1] ** 2).all()
    assert (fall >= 2 * theta**2 / math.pi**2 - 1e-12).all()


def test_gaussian_steps_stand_for_skellam_steps():
    event = steps(3.0, l2=2.0**12, rate=0.1)
    (gaussian,), away = nearby([event])
    assert gaussian.noise_multiplier == pytest.approx(3, rel=1e-9)
    assert gaussian.noise_multiplier < 3
    assert (gaussian.sampling_rate, gaussian.steps) == (0.1, 20)
    assert away == pytest.approx(14 * 20 * distance_to_gaussian(event.variance), rel=1e-9)


# ε


def hockey_stick(log_p, log_q, level):
    return float(np.maximum(np.exp(log_p) - np.exp(level + log_q), 0).sum())


@pytest.mark.parametrize("rate", [1.0, 0.3])
@pytest.mark.parametrize(
    ("shift", "level"), [(300, 0.05), (300, 0.5), (1000, 0.05), (1000, 2.0), (3000, 0.5), (3000, 2)]
)
def test_no_level_is_claimed_that_the_law_itself_breaks(rate, shift, level):
    """One coordinate and step: the true δ at a level, and ours at that δ."""
    variance = 1e6
    k = places(variance)
    with np.errstate(divide="ignore"):
        log_p, log_q = np.log(ive(abs(k), variance)), np.log(ive(abs(k - shift), variance))
    log_m = np.logaddexp(np.log1p(-rate) + log_p, np.log(rate) + log_q) if rate < 1 else log_q
    delta = max(hockey_stick(log_m, log_p, level), hockey_stick(log_p, log_m, level))
    assert delta > 1e-9  # as much as float64 can sum
    event = SkellamSteps(float(shift), variance, 1, rate, 1)
    claimed = epsilon([event], delta, NEARBY)
    assert claimed >= level
    if delta > 1e-3:  # or else the distance, 5e-7, takes a part
        assert claimed <= level * 1.02 + 0.01


@pytest.mark.parametrize("claim", [0.1, 1.0, 8.0])
def test_a_fine_grid_costs_what_a_gaussian_costs_exactly(claim):
    noise = get_sigma_gaussian(claim, 1e-4) * math.sqrt(20)
    said = epsilon([steps(noise)], 1e-4, NEARBY)
    assert claim < said < claim * (1 + 1e-5)
    assert said < epsilon([steps(noise)], 1e-4, Accountant.RDP)


def test_sampled_steps_cost_what_a_gaussians_pld_says():
    wanted = epsilon([GaussianSteps(2.0, 0.1, 100, 1.0)], 1e-5)
    said = epsilon([steps(2.0, rate=0.1, count=100)], 1e-5, NEARBY)
    assert wanted <= said + 1e-9 <= wanted * 1.001 + 1e-9


def test_with_gaussian_steps_beside():
    gaussian = GaussianSteps(20.0, 1.0, 20, 1.0)
    both = epsilon([steps(20.0), gaussian], 1e-5, NEARBY)
    assert both == pytest.approx(epsilon([replace(gaussian, steps=40)], 1e-5), rel=1e-5)
    assert epsilon([gaussian], 1e-5, NEARBY) == epsilon([gaussian], 1e-5)
    assert epsilon([steps(20.0), ExactRelease("x")], 1e-5, NEARBY) == math.inf


@pytest.mark.parametrize("event", [steps(20.0, l2=4.0), steps(20.0, l2=2.0**20, dimension=10**8)])
def test_where_the_distance_is_too_large_it_is_rdp(event):
    assert epsilon([event], 1e-5, NEARBY) == epsilon([event], 1e-5, Accountant.RDP)


@settings(max_examples=60, deadline=None)
@given(
    noise=st.floats(0.5, 100),
    bits=st.integers(4, 28),
    dimension=st.sampled_from([1, 14, 10**6]),
    delta=st.sampled_from([1e-4, 1e-7]),
)
def test_it_is_never_above_rdp_nor_below_the_gaussian(noise, bits, dimension, delta):
    event = steps(noise, l2=2.0**bits, dimension=dimension)
    said = epsilon([event], delta, NEARBY)
    assert said <= epsilon([event], delta, Accountant.RDP)
    assert said >= epsilon([GaussianSteps(noise, 1.0, 20, 1.0)], delta) * (1 - 1e-9)
    assert said >= epsilon([replace(event, variance=event.variance * 1.1)], delta, NEARBY)


def test_the_distance_is_taken_off_delta():
    def bound(delta):
        return -math.log10(delta)

    assert at_a_distance(bound, 1e-2, 0.0) == 2
    most = -math.log10(5e-3)
    assert at_a_distance(bound, 1e-2, 1e-5) == bound(1e-2 - (1 + math.exp(most)) * 1e-5)
    assert at_a_distance(bound, 1e-2, 1e-3) == math.inf
    assert at_a_distance(bound, 1e-2, math.inf) == math.inf


# Shares


@pytest.mark.parametrize(("target", "saved"), [(0.1, 0.117), (1.0, 0.092)])
def test_shares_need_less_noise_on_a_fine_grid(target, saved):
    sites = {name: Terms(1 / 486, size) for name, size in {"a": 199, "b": 172, "c": 115}.items()}
    question = {"epsilon": target, "delta": 1e-4, "steps": 20, "dimension": 14, "fewest": 3}
    plain = shared_noise(sites, **question).together("a")
    less = shared_noise(sites, accountant=NEARBY, **question).together("a")
    assert 0.98 * target <= epsilon([less], 1e-4, NEARBY) <= target
    assert 1 - less.noise_multiplier / plain.noise_multiplier == pytest.approx(saved, abs=2e-3)
