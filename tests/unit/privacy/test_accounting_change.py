"""What a changed unit costs, beside one that is there or not."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tacit.privacy.accounting import epsilon
from tacit.privacy.accounting_change import changed_epsilon
from tacit.privacy.events import ExactRelease, GaussianSteps, Relation, SkellamSteps, Unit

STEPS = GaussianSteps(10.0, 1.0, 100, 2.0, Unit.PERSON)
SKELLAM = SkellamSteps(100.0, 1e6, 50, 1.0, 10, Unit.PERSON)


def test_without_sampling_it_is_one_gaussian_of_half_the_noise():
    """Of deviation 1/2 in units of the distance: 100 steps of σ = 10, 2C apart."""
    alone = GaussianSteps(0.5, 1.0, 1, 2.0, Unit.PERSON)
    assert changed_epsilon([STEPS], 1e-5) == pytest.approx(epsilon([alone], 1e-5))


@pytest.mark.parametrize(("rate", "sigma", "steps"), [(0.01, 1.0, 1000), (0.3, 6.0, 60)])
def test_with_sampling_it_is_what_the_library_has_for_replacing_one(rate, sigma, steps):
    event = GaussianSteps(sigma, rate, steps, 1.0, Unit.PERSON)
    changed, there_or_not = changed_epsilon([event], 1e-5), epsilon([event], 1e-5)
    assert there_or_not < changed
    # As if every person were in every step: more than can be.
    assert changed < changed_epsilon([replace(event, sampling_rate=1.0)], 1e-5)
    if rate == 0.01:
        assert changed == pytest.approx(2.8434, rel=0.002)  # dp_accounting's own accountant


def test_sampled_and_full_batch_steps_compose():
    sampled = GaussianSteps(6.0, 0.3, 60, 1.0, Unit.PERSON)
    both = changed_epsilon([sampled, STEPS], 1e-5)
    assert both > max(changed_epsilon([each], 1e-5) for each in (sampled, STEPS))


def test_no_two_directions_are_told_apart_better_than_opposite_ones():
    """One sampled step in two dimensions, on a grid: δ(ε) of vectors of length 1 and less."""
    x = np.linspace(-9, 9, 301)
    across, down = np.meshgrid(x, x, indexing="ij")

    def law(vector, rate):
        def at(u, v):
            return np.exp(-((across - u) ** 2 + (down - v) ** 2) / 2)

        found = (1 - rate) * at(0, 0) + rate * at(*vector)
        return found / found.sum()

    for rate in (0.1, 0.6):
        one = law((1, 0), rate)
        for epsilon_ in (0.05, 0.3, 1.0):
            worst = np.maximum(one - math.exp(epsilon_) * law((-1, 0), rate), 0).sum()
            for angle in (0.0, 1.0, 2.0, 3.0):
                for length in (0.4, 1.0):
                    other = law((length * math.cos(angle), length * math.sin(angle)), rate)
                    assert np.maximum(one - math.exp(epsilon_) * other, 0).sum() <= worst + 1e-12


def test_skellam_noise_without_sampling_is_counted_at_twice_the_distance():
    twice = replace(SKELLAM, l2_sensitivity=200.0)
    assert changed_epsilon([SKELLAM], 1e-5) == epsilon([twice], 1e-5)
    assert changed_epsilon([replace(SKELLAM, sampling_rate=0.5)], 1e-5) is None
    assert changed_epsilon([SKELLAM, STEPS], 1e-5) is None


def test_where_nothing_is_promised_or_known():
    assert changed_epsilon([ExactRelease("mean", Unit.PERSON)], 1e-5) == math.inf
    assert changed_epsilon([replace(STEPS, noise_multiplier=0.3)], 1e-5) == math.inf
    assert changed_epsilon([replace(STEPS, sampling_rate=0.5)], 1e-15) is None
    assert changed_epsilon([], 1e-5) == 0
    zero = replace(STEPS, relation=Relation.REPLACE_WITH_ZERO)
    with pytest.raises(ValueError, match="add or remove one"):
        changed_epsilon([zero], 1e-5)
