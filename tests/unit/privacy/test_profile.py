"""The privacy profile: against closed forms and the printed ε, as a property, and out of range."""

import math

import pytest
from scipy.stats import norm

from tacit.privacy.accounting import epsilon
from tacit.privacy.events import ExactRelease, GaussianSteps, Relation, SkellamSteps, Unit
from tacit.privacy.profile import profile


def gaussian(sigma, rate, steps):
    return GaussianSteps(sigma, rate, steps, 1.0, Unit.RECORD)


SKELLAM = SkellamSteps(1000.0, 4e6, 10, 1.0, 20, Unit.RECORD, Relation.ADD_OR_REMOVE_ONE, shares=2)
EVENTS = [gaussian(10, 1.0, 100), gaussian(2, 0.1, 50), SKELLAM]


@pytest.mark.parametrize("at", [0.0, 0.5, 2.0, 5.0])
def test_one_gaussian_has_balle_and_wangs_curve(at):
    """Theorem 8 of arXiv 1805.06530, written out."""
    sigma = 0.7
    exact = norm.cdf(1 / (2 * sigma) - at * sigma) - math.exp(at) * norm.cdf(
        -1 / (2 * sigma) - at * sigma
    )
    assert profile([gaussian(7.0, 1.0, 100)], [at])[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("event", EVENTS, ids=["whole", "sampled", "skellam"])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_it_goes_through_the_epsilon_that_is_printed(event, delta):
    (found,) = profile([event], [epsilon([event], delta)])
    assert found == pytest.approx(delta, rel=2e-3)


@pytest.mark.parametrize("event", EVENTS, ids=["whole", "sampled", "skellam"])
def test_it_falls(event):
    found = profile([event], [0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
    assert found == sorted(found, reverse=True)
    assert 0 <= found[-1] < found[0] <= 1


@pytest.mark.parametrize("events", [[], [ExactRelease("weights", Unit.RECORD)]])
def test_what_has_no_noise_has_none(events):
    with pytest.raises(ValueError, match="no privacy profile"):
        profile(events, [1.0])
