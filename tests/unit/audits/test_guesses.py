"""What guesses prove against a claim: right on made-up scores, and rarely wrong."""

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from audits.curve import Curve
from audits.guesses import SHARES, Claim, finding, prove, right_guesses, trade_off
from tacit.privacy.accounting import epsilon
from tacit.privacy.events import GaussianSteps, SkellamSteps

DELTA, LEVEL = 1e-5, 0.05
FULL = GaussianSteps(2.0, 1.0, 4, 1.0)
SAMPLED = GaussianSteps(0.8, 0.2, 6, 1.0)


def claim_of(*events):
    return Claim(epsilon(events, DELTA), DELTA, frozenset({events}))


def first_that_contradicts(claim, canaries, guessed):
    """Return the least number of right guesses that contradicts: more prove more."""
    low, high = 0, guessed + 1
    while high - low > 1:
        middle = (low + high) // 2
        proved = claim.bound(canaries, {guessed: middle}, LEVEL / (2 * len(SHARES)))
        low, high = (low, middle) if proved > claim.epsilon else (middle, high)
    return high


def wrongly_contradicted(claim, scored, canaries=120, tries=1000):
    """Count tries in which made-up scores of what was claimed contradict it."""
    numbers = [2 * round(share * canaries / 2) for share in SHARES]
    enough = {n: first_that_contradicts(claim, canaries, n) for n in numbers}
    wrong = 0
    for seed in range(tries):
        chance = np.random.default_rng(seed)
        inside = chance.random(canaries) < 0.5
        scores = scored(chance, inside)
        wrong += any(right_guesses(scores, inside, n) >= enough[n] for n in numbers)
    return wrong


# With the level as the true rate, more come in one of a thousand tries.
MOST_WRONG = binom.ppf(0.999, 1000, LEVEL)


def gaussian(chance, inside):
    return inside + chance.normal(size=len(inside)) * FULL.noise_multiplier / math.sqrt(FULL.steps)


def sampled(chance, inside):
    entered = chance.random((SAMPLED.steps, len(inside))) < SAMPLED.sampling_rate
    heard = entered * inside + SAMPLED.noise_multiplier * chance.normal(size=entered.shape)
    # The best score there is: the likelihood ratio of each step.
    q, variance = SAMPLED.sampling_rate, SAMPLED.noise_multiplier**2
    return np.log(1 - q + q * np.exp((2 * heard - 1) / (2 * variance))).sum(0)


@pytest.mark.parametrize(
    ("event", "scored"),
    [(FULL, gaussian), pytest.param(SAMPLED, sampled, marks=pytest.mark.slow)],
)
def test_a_mechanism_is_as_rarely_contradicted_as_the_level_says(event, scored):
    assert wrongly_contradicted(claim_of(event), scored) <= MOST_WRONG


def test_randomised_response_is_as_rarely_contradicted_as_the_level_says(monkeypatch):
    """The worst case of (ε, 0): no Gaussian is as bad, so that one bound alone is for it."""
    monkeypatch.setattr(Claim, "_of_trade_offs", lambda self, m, counts, missed: 0.0)
    claim = Claim(2.0, 0.0, frozenset())

    def answered(chance, inside):
        kept = chance.random(len(inside)) < 1 / (1 + math.exp(-claim.epsilon))
        return np.where(inside == kept, 1.0, -1.0) + 1e-6 * chance.normal(size=len(inside))

    assert wrongly_contradicted(claim, answered) <= MOST_WRONG


def test_planted_scores_that_know_too_much_are_found():
    """A tenth of the noise: what is counted above can be counted."""
    wrong = wrongly_contradicted(claim_of(FULL), lambda c, i: i + 0.1 * gaussian(c, i), 400, 50)
    assert wrong == 50


@pytest.mark.parametrize("event", [FULL, SAMPLED])
def test_what_is_contradicted_has_more_noise_than_what_is_seen(event):
    claim = claim_of(event)
    chance = np.random.default_rng(3)
    inside = chance.random(1000) < 0.5
    told = prove(inside + 0.3 * chance.normal(size=1000), inside, claim, LEVEL)
    blind = prove(chance.normal(size=1000), inside, claim, LEVEL)
    assert blind.proved == 0
    assert claim.epsilon < told.proved <= told.ceiling
    assert told.ceiling == blind.ceiling


def test_the_trade_off_of_a_gaussian_profile_is_hardly_below_the_exact_one():
    inverse = trade_off(frozenset({(FULL,)}))
    mu = math.sqrt(FULL.steps) / FULL.noise_multiplier
    for x in np.linspace(0.01, 0.99, 25):
        exact = float(ndtr(ndtri(x) - mu))
        assert exact - 2e-3 <= inverse(x) <= exact + 1e-9


def test_of_several_mechanisms_the_worst_counts():
    worse, better = (FULL,), (GaussianSteps(8.0, 1.0, 4, 1.0),)
    both, alone = trade_off(frozenset({worse, better})), trade_off(frozenset({worse}))
    assert all(both(x) == alone(x) for x in (0.1, 0.5, 0.9))


def test_noise_in_shares_has_a_trade_off_too():
    event = SkellamSteps(100.0, 1e5, 10, 1.0, 1)
    claim = claim_of(event)
    inside = np.arange(400) % 2 == 0
    assert prove(inside * 1.0, inside, claim, LEVEL).proved > claim.epsilon


def test_guesses_are_the_highest_and_the_lowest_scores():
    inside = np.array([True, False, True, False, True, False])
    scores = np.array([5.0, -4.0, 3.0, 2.0, -1.0, 0.5])
    assert right_guesses(scores, inside, 2) == 2
    assert right_guesses(scores, inside, 4) == 3
    assert right_guesses(np.full(6, np.nan), inside, 6) == 2  # in their order, for nothing else


def test_a_finding_says_what_is_proved_and_never_what_epsilon_is():
    claim = claim_of(FULL)
    chance = np.random.default_rng(0)
    inside = chance.random(2400) < 0.5
    for scores, contradicted in ((gaussian(chance, inside), False), (inside * 1.0, True)):
        found = finding("a test", scores, inside, claim, 0.0035, "here", {"more": 1.0})
        assert found.contradicted is contradicted
        assert ("not contradicted at 95 %" in found.said) is not contradicted
        assert "ε is" not in found.said
        assert found.figures["epsilon_ceiling"] > found.figures["epsilon_claimed"]
        assert found.figures["confidence"] == pytest.approx(99.65)
        assert {"delta", "epsilon_proved", "auc", "tpr_at_1_percent_fpr", "more"} <= {
            *found.figures
        }
        assert {"fpr", "tpr", "tpr_low", "tpr_high"} == {*found.series}
        assert len({len(each) for each in found.series.values()}) == 1
        assert len(found.series["fpr"]) <= 100


def test_a_claim_beyond_the_reach_of_so_few_is_said_to_be():
    claim = Claim(20.0, DELTA, frozenset({(GaussianSteps(0.3, 1.0, 1, 1.0),)}))
    inside = np.arange(40) % 2 == 0
    found = finding("a test", inside * 1.0, inside, claim, 0.0035, "here", {})
    assert not found.contradicted
    assert "so few canaries cannot contradict this claim" in found.said


def test_rates_that_nobody_can_measure_are_not_told():
    inside = np.repeat([True, False], 500)
    curve = Curve.of(inside * 1.0, inside)
    assert curve.recognised(0.01) == (1.0, pytest.approx(0.025 ** (1 / 500)), 1.0)
    assert curve.recognised(0.001) is None
    assert "at 0.1 % false positives nothing can be measured with 500 that were out" in curve.said()
    assert "tpr_at_0_1_percent_fpr" not in curve.figures()


def test_the_curve_of_coins_is_the_diagonal():
    chance = np.random.default_rng(1)
    inside = chance.random(4000) < 0.5
    curve = Curve.of(chance.normal(size=4000), inside)
    # The deviation of the area is √((n + m + 1) / 12nm): 0.009.
    assert abs(curve.auc - 0.5) < 4 * 0.009
    share, low, high = curve.recognised(0.01)
    assert low < 0.01 < high
    assert low < share < high
