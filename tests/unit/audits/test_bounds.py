"""Lower bounds on ε from guesses: published and computed numbers, and how often they are wrong."""

import math
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from audits import bounds
from audits.bounds import (
    chance_of_so_many,
    clopper_pearson,
    epsilon_one_run,
    epsilon_one_run_f,
    f_dp_possible,
    gaussian_epsilon,
)
from tacit.errors import ConfigurationError


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Of 0 and of all the closed form 1 - (α/2)^(1/n); of 3 in 10 as tables print it.
    [
        (0, 10, 0.0, 1 - 0.025**0.1),
        (10, 10, 0.025**0.1, 1.0),
        (3, 10, 0.0667, 0.6525),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_of_clopper_and_pearson(successes, trials, low, high):
    assert clopper_pearson(successes, trials, 0.95) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.97])
def test_the_interval_misses_as_rarely_as_it_says(rate):
    trials = 60
    missed = 0.0
    for successes in range(trials + 1):
        low, high = clopper_pearson(successes, trials, 0.95)
        if not low <= rate <= high:
            missed += binom.pmf(successes, trials, rate)
    assert missed <= 0.05


@pytest.mark.parametrize(("delta", "expected"), [(0.0, 0.9767), (1e-5, 0.9764)])
def test_one_run_bound_at_a_computed_point(delta, expected):
    """m = r = 1000 and 750 right, from the authors' formula evaluated by another program."""
    assert epsilon_one_run(1000, 1000, 750, delta, 0.95) == pytest.approx(expected, abs=1e-4)


@pytest.fixture(scope="module")
def auditing():
    """Return the same bounds by other authors. JAX takes seconds to load: not with this file."""
    from jax_privacy import auditing

    return auditing


@pytest.mark.parametrize("confidence", [0.95, 0.9994])
@pytest.mark.parametrize("delta", [1e-6, 1e-4])
@pytest.mark.parametrize(
    ("canaries", "guesses", "right"),
    [
        (50, 25, 24),
        (50, 50, 50),
        (300, 30, 30),
        (300, 150, 142),
        (300, 300, 225),
        (1000, 100, 75),
        (1000, 500, 490),
        (1000, 1000, 750),
    ],
)
def test_bounds_are_those_of_other_authors(auditing, canaries, guesses, right, delta, confidence):
    """By scores of which so many above a threshold are in and so many out."""
    inside = max(right, canaries // 2)
    present = np.repeat([1.0, 0.0], [right, inside - right])
    absent = np.repeat([1.0, 0.0], [guesses - right, canaries - inside - guesses + right])
    given = (canaries, guesses, right, delta, confidence)
    if not len(absent):
        # Their auditor wants one of each kind.
        present, absent = present[:-1], np.ones(1)
        given = (canaries, guesses, right - 1, delta, confidence)
    auditor = auditing.CanaryScoreAuditor(present, absent)
    at = auditing.Explicit(0.5)
    plain = auditor.epsilon_one_run(1 - confidence, delta, threshold_strategy=at)
    f_dp = auditor.epsilon_one_run_fdp(1 - confidence, delta, threshold_strategy=at)
    assert epsilon_one_run(*given) == pytest.approx(plain, abs=1e-3)
    assert epsilon_one_run_f(*given) == pytest.approx(f_dp, abs=1e-3)


@pytest.mark.parametrize(
    ("canaries", "plain", "f_dp"),
    [(50, 2.78, 6.83), (100, 3.49, 8.22), (300, 4.59, 10.25), (1000, 5.78, 12.33)],
)
def test_what_could_be_proved_at_most_is_known_beforehand(canaries, plain, f_dp):
    """Every guess right, δ = 1e-5: computed by another program from the papers."""
    right = (canaries, canaries, canaries, 1e-5, 0.95)
    assert epsilon_one_run(*right) == pytest.approx(plain, abs=0.01)
    assert epsilon_one_run_f(*right) == pytest.approx(f_dp, abs=0.01)


def test_pure_randomised_response_is_wrongly_contradicted_in_one_of_twenty_at_most():
    """The worst case of ε = 3 without δ: each guess is right with probability e^ε / (1 + e^ε)."""
    guesses, epsilon = 200, 3.0
    right = binom(guesses, 1 / (1 + math.exp(-epsilon)))
    # More right guesses prove more, so that it is wrong from some number on.
    first = bisect_right(
        range(guesses + 1), epsilon, key=lambda v: epsilon_one_run(guesses, guesses, v, 0.0, 0.95)
    )
    wrong = float(right.sf(first - 1))
    # Close to the level, too: a bound that gives little away.
    assert 0.02 < wrong <= 0.05


def test_a_gaussian_mechanism_is_not_contradicted_by_its_own_guesses():
    """μ = 1 on 400 canaries of one coordinate each, guessed by sign; 60 seeds."""
    true = gaussian_epsilon(1.0, 1e-5)
    wrong = 0
    for seed in range(60):
        chance = np.random.default_rng(seed)
        inside = chance.random(400) < 0.5
        scores = inside * 1.0 + chance.normal(size=400)
        sure = np.argsort(-abs(scores - 0.5))[:200]
        right = int(((scores > 0.5) == inside)[sure].sum())
        wrong += epsilon_one_run_f(400, 200, right, 1e-5, 0.95) > true
    # Of 60 at a level of 5 %, more than 9 come in one of a hundred tries.
    assert wrong <= 9


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.data())
def test_more_right_guesses_prove_more(canaries, data):
    guesses = data.draw(st.integers(1, canaries))
    right = data.draw(st.integers(0, guesses - 1))
    for bound in (epsilon_one_run, epsilon_one_run_f):
        fewer = bound(canaries, guesses, right, 1e-5, 0.95)
        assert 0 <= fewer <= bound(canaries, guesses, right + 1, 1e-5, 0.95) + 1e-9


def test_guesses_that_are_not_better_than_coins_prove_nothing():
    assert epsilon_one_run(1000, 1000, 500, 1e-5, 0.95) == 0
    assert epsilon_one_run_f(1000, 1000, 500, 1e-5, 0.95) == 0
    assert epsilon_one_run(1000, 0, 0, 1e-5, 0.95) == 0


def test_delta_only_takes_away():
    assert chance_of_so_many(100, 100, 80, 1.0, 1e-3) > chance_of_so_many(100, 100, 80, 1.0, 0.0)
    assert f_dp_possible(100, 100, 50, lambda x: x, 0.05)


@pytest.mark.parametrize("bound", [epsilon_one_run, epsilon_one_run_f])
def test_numbers_that_cannot_be_are_refused(bound):
    for canaries, guesses, right in ((10, 11, 5), (10, 5, 6), (10, 5, -1)):
        with pytest.raises(ConfigurationError, match="cannot be right"):
            bound(canaries, guesses, right, 1e-5, 0.95)
    with pytest.raises(ConfigurationError, match="confidence=1"):
        bound(10, 5, 5, 1e-5, 1.0)
    with pytest.raises(ConfigurationError, match="cannot have succeeded"):
        clopper_pearson(3, 2, 0.95)


def test_planted_a_bound_without_its_confidence_is_found(monkeypatch):
    monkeypatch.setattr(bounds, "_miss", lambda confidence: 0.5)
    with pytest.raises(AssertionError):
        test_pure_randomised_response_is_wrongly_contradicted_in_one_of_twenty_at_most()
