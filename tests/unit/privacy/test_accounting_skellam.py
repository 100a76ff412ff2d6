"""Skellam's ε against sums over the law itself, its Gaussian limit and the design's figures.

Divergences are summed from `scipy.special.ive`, P(k) = e^-μ I_k(μ): no code of ours.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, get_sigma_gaussian
from dp_accounting.rdp import RdpAccountant, compute_epsilon
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_example import open_ledger, refusal
from scipy.special import ive, logsumexp

from tacit.privacy import accounting_skellam as module
from tacit.privacy.accounting import (
    Accountant,
    accountant_of_record,
    epsilon,
    epsilon_by_steps,
    renyi_divergence,
)
from tacit.privacy.accounting_skellam import MOST_SHARES, ORDERS, divergences, skellam_epsilon
from tacit.privacy.book import Fixed
from tacit.privacy.cohort_ledger import CohortLedger
from tacit.privacy.events import ExactRelease, GaussianSteps, Relation, SkellamSteps, Unit
from tacit.privacy.ledger_filter import filter_order, renyi_budget
from tacit.privacy.ledger_page import Page
from tacit.privacy.ledger_summary import summarise
from tacit.privacy.policy import Plan, Policy, Reason, steps_of, with_steps
from tacit.privacy.skellam_law import DISTANCE


def steps(noise, l2=2.0**16, rate=1.0, count=1, dimension=14, **names):
    return SkellamSteps(l2, (noise * l2) ** 2, dimension, rate, count, **names)


def one(shift, variance, rate=1.0):
    return SkellamSteps(float(shift), variance, 1, rate, 1)


def laws(shift, variance):
    """Log P and log Q around their common middle, as far as float64 holds them."""
    most = int(30 * math.sqrt(variance) + 40)
    places = np.arange(-most, most + shift + 1)
    with np.errstate(divide="ignore"):
        log_p, log_q = (
            np.log(ive(abs(places), variance)),
            np.log(ive(abs(places - shift), variance)),
        )
    held = np.isfinite(log_p) & np.isfinite(log_q)
    return log_p[held], log_q[held]


def divergence(log_m, log_n, order):
    return logsumexp(order * log_m + (1 - order) * log_n) / (order - 1)


def mixed(log_p, log_q, rate):
    return np.logaddexp(np.log1p(-rate) + log_p, np.log(rate) + log_q)


@pytest.mark.parametrize(
    ("l2", "variance", "dimension", "order", "wanted"),
    [
        # Δ₁ = 2 · 3: 5 · 9/100 + (9 · 9 + 6 · 6)/(4 · 2500), less than 3 · 6/100
        (3.0, 50.0, 4, 5, 0.45 + 0.0117),
        # Δ₁ = 1: 4/2 + 3/2, less than (7 + 6)/4
        (1.0, 1.0, 7, 4, 3.5),
    ],
)
def test_the_theorem_by_hand(l2, variance, dimension, order, wanted):
    event = SkellamSteps(l2, variance, dimension, 1.0, 1)
    assert divergences(event, (order,))[0] == pytest.approx(wanted, rel=1e-12)


# One coordinate, by summation

CASES = [(1, 2.0), (1, 50.0), (2, 50.0), (5, 400.0), (30, 1e4), (7, 1e5), (200, 1e5)]


@pytest.mark.parametrize(("shift", "variance"), CASES)
@pytest.mark.parametrize("order", [2, 3, 5, 8, 16])
def test_a_shift_diverges_by_less_than_the_theorem_says(shift, variance, order):
    true = divergence(*laws(shift, variance), order)
    ours = divergences(one(shift, variance), (order,))[0]
    assert ours >= true
    # What the theorem gives away is its second term, and that shrinks as 1/μ².
    assert ours <= true * 1.005 + 3 * shift * (1 + shift) * order / variance**2


@pytest.mark.parametrize("rate", [1.0, 0.3])
@pytest.mark.parametrize(("shift", "variance"), CASES[1:])
def test_a_bound_for_a_twentieth_more_noise_would_be_broken(shift, variance, rate):
    """The planted fault: what is above the truth is so by less than 5 % of the variance."""
    log_p, log_q = laws(shift, variance)
    true = divergence(mixed(log_p, log_q, rate) if rate < 1 else log_q, log_p, 2)
    assert divergences(one(shift, variance, rate), (2,))[0] >= true
    fine = variance * 100, shift * 10  # on a finer grid the theorem's second term is gone
    assert divergences(one(fine[1], fine[0] * 1.05, rate), (2,))[0] < true


@pytest.mark.parametrize("rate", [1e-3, 0.05, 0.3, 0.7, 0.999])
@pytest.mark.parametrize(("shift", "variance"), CASES)
@pytest.mark.parametrize("order", [2, 3, 8])
def test_sampling_is_bounded_both_ways_and_closely(rate, shift, variance, order):
    log_p, log_q = laws(shift, variance)
    log_m = mixed(log_p, log_q, rate)
    ours = divergences(one(shift, variance, rate), (order,))[0]
    added, removed = divergence(log_m, log_p, order), divergence(log_p, log_m, order)
    rounding = 1e-12  # of the true sums
    assert ours >= added - rounding
    assert ours >= removed - rounding
    slack = 2 * (1 + shift) * order / variance / (1 + shift)  # of the theorem, relative
    assert ours <= added * (1.01 + 3 * slack) + 2 * rounding


@settings(max_examples=200, deadline=None)
@given(
    rate=st.floats(1e-3, 0.999),
    shift=st.integers(1, 30),
    variance=st.floats(0.5, 5000),
    order=st.integers(2, 12),
)
def test_adding_one_costs_more_than_removing_one(rate, shift, variance, order):
    """What makes one binomial sum enough; the proof stands in `divergences`."""
    log_p, log_q = laws(shift, variance)
    log_m = mixed(log_p, log_q, rate)
    assert divergence(log_p, log_m, order) <= divergence(log_m, log_p, order) + 1e-11


@pytest.mark.parametrize("order", [2, 6])
def test_several_coordinates_are_within_the_bound_of_the_whole(order):
    """Divergences of independent coordinates add up: (3, 4, 0) has Δ₂ = 5 and Δ₁ = 7."""
    true = sum(divergence(*laws(k, 300.0), order) for k in (3, 4))
    event = SkellamSteps(5.0, 300.0, 3, 1.0, 1)
    assert event.l1_sensitivity == pytest.approx(5 * math.sqrt(3))
    assert true <= divergences(event, (order,))[0] <= true * 1.02


# The Gaussian limit


@pytest.mark.parametrize("rate", [1.0, 0.5, 0.05, 0.001])
@pytest.mark.parametrize("order", [2, 3, 18, 200, 1000])
def test_a_fine_grid_costs_what_a_gaussian_costs(rate, order):
    google = RdpAccountant([order]).compose(PoissonSampledDpEvent(rate, GaussianDpEvent(9.0)))
    ours = renyi_divergence([steps(9.0, rate=rate, count=1)], order)
    assert google.rdp[0] <= ours <= google.rdp[0] * (1 + 1e-6) + 3e-14


@pytest.mark.parametrize(("claim", "said"), [(0.1, 0.115), (1.0, 1.114)])
@pytest.mark.parametrize("scale", [2.0**12, 2.0**20])
def test_the_designs_figures(claim, said, scale):
    """4 sites, 14 parameters, 20 steps at δ = 1e-4: where a Gaussian's PLD says the claim."""
    noise = get_sigma_gaussian(claim, 1e-4) * math.sqrt(20)
    assert epsilon([GaussianSteps(noise, 1.0, 20, 1.0)], 1e-4) == pytest.approx(claim)
    assert epsilon([steps(noise, scale, count=20)], 1e-4) == pytest.approx(said, abs=6e-4)


def test_noise_set_for_four_shares_with_two_present():
    """1 becomes 1.48 by PLD (the design's figure for a Gaussian); ours is above, as RDP is."""
    noise = get_sigma_gaussian(1.0, 1e-4) * math.sqrt(20)
    two = noise / math.sqrt(2)
    assert epsilon([GaussianSteps(two, 1.0, 20, 1.0)], 1e-4) == pytest.approx(1.48, abs=5e-3)
    assert 1.48 < epsilon([steps(two, count=20)], 1e-4) < 1.66


@pytest.mark.parametrize(("noise", "rate", "count"), [(1, 0.01, 1000), (30, 1, 200), (2, 0.1, 500)])
def test_epsilon_is_near_the_gaussians_by_rdp(noise, rate, count):
    """Only whole orders are Skellam's: 0.9 % at the last, whose best order is 3.7."""
    gaussian = epsilon([GaussianSteps(noise, rate, count, 1.0)], 1e-5, Accountant.RDP)
    assert epsilon([steps(noise, rate=rate, count=count)], 1e-5) == pytest.approx(
        gaussian, rel=1e-2
    )


# What callers see


@pytest.mark.parametrize("accountant", Accountant)
def test_it_is_always_the_rdp_number(accountant):
    event = steps(20.0, count=20)
    curve = 20 * divergences(event, ORDERS)
    (wanted, _) = compute_epsilon(ORDERS, curve, 1e-5)
    assert epsilon([event], 1e-5, accountant) == pytest.approx(wanted, rel=1e-12)
    assert epsilon([event], 1e-5, accountant) > epsilon([GaussianSteps(20.0, 1, 20, 1)], 1e-5)


def test_whose_number_it_is_can_be_asked():
    gaussian = GaussianSteps(1.0, 1.0, 1, 1.0)
    assert accountant_of_record([gaussian]) is Accountant.PLD
    assert accountant_of_record([gaussian, steps(2.0)]) is Accountant.RDP
    assert accountant_of_record([]) is Accountant.PLD


def test_with_gaussian_steps_divergences_add_up():
    gaussian = GaussianSteps(20.0, 1.0, 10, 1.0)
    both = epsilon([steps(20.0, count=10), gaussian], 1e-5)
    assert both == pytest.approx(epsilon([steps(20.0, count=20)], 1e-5), rel=1e-6)
    each = [renyi_divergence([event], 30) for event in (steps(20.0, count=10), gaussian)]
    assert renyi_divergence([gaussian, steps(20.0, count=10)], 30) == pytest.approx(sum(each))
    with pytest.raises(ValueError, match="different unit"):
        epsilon([steps(20.0, unit=Unit.PERSON), gaussian], 1e-5)


def test_nothing_and_everything():
    assert epsilon([steps(20.0, count=0)], 1e-5) == 0
    assert renyi_divergence([steps(20.0, count=0)], 2) == 0
    assert epsilon([steps(20.0), ExactRelease("weights")], 1e-5) == math.inf
    assert epsilon([SkellamSteps(1e200, 1.0, 3, 0.5, 2)], 1e-5) == math.inf
    assert renyi_divergence([SkellamSteps(1e200, 1.0, 3, 1.0, 2)], 2) == math.inf
    assert 0 < renyi_divergence([SkellamSteps(1e-200, 1e200, 3, 0.5, 1)], 2) < 1e-13


def test_a_zeroed_unit_costs_what_an_absent_one_costs():
    event = steps(3.0, rate=0.1, count=50)
    zeroed = replace(event, relation=Relation.REPLACE_WITH_ZERO)
    assert epsilon([event], 1e-5) == epsilon([zeroed], 1e-5)


@settings(max_examples=30, deadline=None)
@given(
    noise=st.floats(1, 50),
    rate=st.sampled_from([1.0, 0.3, 0.01]),
    count=st.integers(1, 300),
    delta=st.sampled_from([1e-4, 1e-7]),
)
def test_it_grows_with_what_is_released_and_falls_with_noise(noise, rate, count, delta):
    def cost(*event, **names):
        return epsilon([steps(*event, **names)], delta)

    plain = cost(noise, rate=rate, count=count)
    assert plain <= cost(noise, rate=rate, count=count + 1)
    assert plain <= cost(noise * 0.9, rate=rate, count=count)
    assert plain <= cost(noise, rate=min(1.0, rate * 1.1), count=count)
    assert plain <= cost(noise, rate=rate, count=count, dimension=10**6)
    assert plain <= epsilon([steps(noise, rate=rate, count=count)], delta / 2)
    by_steps = epsilon_by_steps(steps(noise, rate=rate, count=count), [0, 1, count], delta)
    assert by_steps[0] == 0
    assert by_steps[1] <= by_steps[2] == plain


def test_the_samplers_distance_is_kept_back(monkeypatch):
    """At ε near 1 it is nothing; planted larger, it takes its part of δ, and all when it must."""
    event, delta = steps(20.0, count=20), 1e-5
    assert DISTANCE * MOST_SHARES * 14 * 20 < 2**-220
    exact = skellam_epsilon([event], delta)
    monkeypatch.setattr(module, "DISTANCE", 1e-7 / (MOST_SHARES * 14 * 20))
    counted = skellam_epsilon([event], delta)
    monkeypatch.setattr(module, "DISTANCE", 0.0)
    assert skellam_epsilon([event], delta) == exact
    assert counted >= skellam_epsilon([event], delta - (1 + math.exp(exact)) * 1e-7) > exact
    monkeypatch.setattr(module, "DISTANCE", 1e-5 / (MOST_SHARES * 14 * 20))
    assert skellam_epsilon([event], delta) == math.inf


def test_odds_that_protect_nothing_are_infinite():
    assert 90 < epsilon([steps(0.09)], 1e-5) < math.inf
    assert epsilon([steps(0.01)], 1e-5) == math.inf


# Policy and filter

POLICY = Policy(epsilon_per_run=2.0, lifetime_epsilon=2.0, delta_per_run=1e-4)


def plan(event, rounds=1, cost=1.5):
    return Plan("run", event, rounds, cost, 1e-4)


def test_a_policy_counts_steps_noise_and_cost():
    event = steps(20.0, count=5)
    assert steps_of(event) == 5
    assert with_steps(event, 100) == [replace(event, steps=100)]
    assert plan(event).private
    assert not replace(plan(event), predictable=True).private
    POLICY.check_plan(plan(event))
    strict = replace(POLICY, least_noise_multiplier=20.1)
    assert refusal(strict.check_plan, plan(event)) is Reason.NOISE_TOO_LOW
    POLICY.check_cost(plan(event, rounds=10))
    assert refusal(POLICY.check_cost, plan(event, rounds=20)) is Reason.BUDGET
    plan(event).check_event(replace(event, steps=3))
    assert refusal(plan(event).check_event, replace(event, variance=1.0)) is Reason.PLAN_DIFFERS


def test_the_lifetime_filter_adds_skellam_to_gaussian_runs():
    order = filter_order(2.0, 1e-4)
    budget = renyi_budget(2.0, 1e-4, order)
    event = steps(20.0)
    room = int(budget / renyi_divergence([event], order))
    others = [GaussianSteps(20.0, 1.0, room - 10, 1.0)]
    POLICY.check_lifetime(plan(event, rounds=9), others, 1e-4, order)
    for rounds, beside in ((12, others), (200, [])):
        too_much = plan(event, rounds), beside, 1e-4, order
        assert refusal(POLICY.check_lifetime, *too_much) is Reason.BUDGET


def test_a_ledger_keeps_what_it_is_charged(path):
    event = steps(20.0, count=2)
    asked = Plan("run", event, 5, 1.5, 1e-5)
    with open_ledger(path) as ledger:
        ledger.reserve(asked, replace(POLICY, delta_per_run=1e-5))
        ledger.charge("run", "r1", event, POLICY)
    with open_ledger(path) as ledger:
        assert ledger.spent_events("run") == [event]
        (run,) = summarise(ledger).runs
    assert (run.rounds, run.steps, run.noise_multiplier) == (1, 2, event.noise_multiplier)
    assert (run.sampling_rate, run.clipping_norm) == (1.0, None)
    assert run.epsilon == epsilon([event], 1e-5)
    assert run.planned_epsilon == epsilon([replace(event, steps=10)], 1e-5)


def test_a_cohorts_ledger_keeps_it_too(path):
    event = steps(20.0, count=2)
    fixed = Fixed("wards", Unit.RECORD, Relation.ADD_OR_REMOVE_ONE, 1e-5)
    with CohortLedger.open(path, fixed) as shared:
        pages = [Page(shared, site) for site in ("north", "south")]
        with shared.together():
            for page in pages:
                page.reserve(Plan("run", event, 5, 1.5, 1e-5), replace(POLICY, delta_per_run=1e-5))
        with shared.together():
            for page in pages:
                page.charge("run", "r1", event, POLICY)
    with CohortLedger.open(path, fixed) as shared:
        assert [Page(shared, site).spent_events("run") for site in ("north", "south")] == [
            [event]
        ] * 2
