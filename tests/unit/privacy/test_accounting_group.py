"""What several units together cost: against the formula, and against what is drawn."""

from dataclasses import replace

import dp_accounting
import numpy as np
import pytest
from scipy.stats import norm

from tacit.privacy.accounting import epsilon
from tacit.privacy.accounting_group import group_epsilon
from tacit.privacy.events import ExactRelease, GaussianSteps, Relation, SkellamSteps

STEPS = GaussianSteps(4.0, 1.0, 16, 1.0)
DELTA = 1e-5


def test_one_unit_is_itself():
    assert group_epsilon([STEPS], DELTA, 1) == epsilon([STEPS], DELTA)


def test_windows_of_thirty_cost_what_a_gaussian_thirty_times_nearer_does():
    """At ε = 8 a measurement in 30 windows has about 1,461 (Balle and Wang 2018, theorem 8)."""
    sigma = dp_accounting.get_sigma_gaussian(8.0, DELTA)
    steps = replace(STEPS, noise_multiplier=4 * sigma)
    assert epsilon([steps], DELTA) == pytest.approx(8.0, rel=1e-6)
    assert group_epsilon([steps], DELTA, 30) == pytest.approx(1461.25, rel=1e-4)
    assert group_epsilon([steps], DELTA, 10) == pytest.approx(208.95, rel=1e-4)


@pytest.mark.parametrize("size", [2, 5])
def test_sampling_is_not_relied_on(size):
    sampled = replace(STEPS, sampling_rate=0.1)
    assert group_epsilon([sampled], DELTA, size) == group_epsilon([STEPS], DELTA, size)


def test_a_mixture_over_who_was_drawn_costs_no_more():
    """One step, two units: δ by integration, for 0, 1 or 2 contributions against none."""
    sigma, rate = 1.5, 0.3
    bound = group_epsilon([GaussianSteps(sigma, rate, 1, 1.0)], DELTA, 2)
    points, width = np.linspace(-20, 20, 400_001, retstep=True)
    drawn = ((1 - rate) ** 2, 2 * rate * (1 - rate), rate**2)
    mixed = sum(share * norm.pdf(points, k, sigma) for k, share in enumerate(drawn))
    none = norm.pdf(points, 0, sigma)
    for more, less in ((mixed, none), (none, mixed)):
        delta = np.maximum(more - np.exp(bound) * less, 0).sum() * width
        assert delta <= DELTA


def test_shared_noise_is_as_if_the_sum_could_differ_by_more():
    event = SkellamSteps(100.0, 4e6, 50, 1.0, 10)
    assert group_epsilon([event], DELTA, 3) == epsilon(
        [replace(event, l2_sensitivity=300.0)], DELTA
    )


def test_what_was_released_exactly_has_no_bound():
    assert group_epsilon([STEPS, ExactRelease("a count")], DELTA, 2) == float("inf")


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="size=0"):
        group_epsilon([STEPS], DELTA, 0)
    with pytest.raises(ValueError, match="add or remove"):
        group_epsilon([replace(STEPS, relation=Relation.REPLACE_WITH_ZERO)], DELTA, 2)
