"""What a site's policy admits, and the reason for each refusal."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import ConfigurationError, LedgerError, RefusedError
from tacit.privacy import accounting
from tacit.privacy.events import ExactRelease, GaussianSteps, Relation, Unit
from tacit.privacy.policy import Plan, Policy, Reason, with_steps

ROUND = GaussianSteps(noise_multiplier=10.0, sampling_rate=1.0, steps=10, clipping_norm=1.0)
PLAN = Plan(run="a", event=ROUND, rounds=10, epsilon=4.4, delta=1e-5)
EXACT = Plan(run="a", event=ExactRelease("sum"), rounds=10, epsilon=math.inf, delta=0.0)
POLICY = Policy(epsilon_per_run=5.0, lifetime_epsilon=10.0, delta_per_run=1e-5)

# Gaussian with σ = 10, 100 full-batch steps, δ = 1e-5: ε by the closed form of Balle and Wang
# 2018, theorem 8, for one Gaussian with σ = 1.
PLD_OF_PLAN = 4.37718


def refusal(call, *arguments):
    with pytest.raises(RefusedError) as caught:
        call(*arguments)
    return caught.value.reason


def test_the_plan_is_admitted():
    POLICY.check_plan(PLAN)
    POLICY.check_cost(PLAN)
    POLICY.check_lifetime(PLAN, [], 1e-5, 3)


@pytest.mark.parametrize(
    ("policy", "plan", "reason"),
    [
        (replace(POLICY, epsilon_per_run=4.3), PLAN, Reason.BUDGET),
        (POLICY, replace(PLAN, delta=2e-5), Reason.BUDGET),
        (replace(POLICY, least_noise_multiplier=10.1), PLAN, Reason.NOISE_TOO_LOW),
        (replace(POLICY, most_rounds=9), PLAN, Reason.TOO_MANY_ROUNDS),
        (POLICY, replace(PLAN, predictable=True), Reason.DATA_NOT_TEST),
        (POLICY, EXACT, Reason.PRIVACY_REQUIRED),
        (replace(POLICY, test_data=True), EXACT, Reason.PRIVACY_REQUIRED),
        (replace(POLICY, require_privacy=False), EXACT, Reason.DATA_NOT_TEST),
    ],
)
def test_a_plan_is_refused_with_its_reason(policy, plan, reason):
    assert refusal(policy.check_plan, plan) is reason


@pytest.mark.parametrize(
    ("policy", "plan"),
    [
        (replace(POLICY, least_noise_multiplier=10.0, most_rounds=10, epsilon_per_run=4.4), PLAN),
        (replace(POLICY, test_data=True), replace(PLAN, predictable=True)),
        (replace(POLICY, test_data=True, require_privacy=False), EXACT),
    ],
)
def test_what_stands_exactly_at_a_limit_or_is_allowed_passes(policy, plan):
    policy.check_plan(plan)
    policy.check_cost(plan)


@pytest.mark.parametrize(
    ("event", "rounds", "cost"),
    [
        (ROUND, 10, PLD_OF_PLAN),
        # q = 0.01, σ = 1, 1000 steps: 1.8282 by dp_accounting's PLD, 1.8384 by Opacus's PRV, whose
        # tolerance is 0.01.
        (GaussianSteps(1.0, 0.01, 100, 1.0), 10, 1.8282),
    ],
)
def test_the_cost_of_a_plan_is_held_against_the_budget_it_declares(event, rounds, cost):
    plan = Plan("a", event, rounds, epsilon=cost + 0.005, delta=1e-5)
    POLICY.check_cost(plan)
    assert refusal(POLICY.check_cost, replace(plan, epsilon=cost - 0.005)) is Reason.BUDGET
    seeded = replace(plan, epsilon=cost - 0.005, predictable=True)
    assert refusal(POLICY.check_cost, seeded) is Reason.BUDGET


def test_a_lifetime_of_one_run_is_counted_by_pld_and_of_two_by_the_filter():
    half = replace(PLAN, rounds=5)
    between = replace(POLICY, lifetime_epsilon=PLD_OF_PLAN + 0.01)
    between.check_lifetime(PLAN, [], 1e-5, 6)
    assert refusal(between.check_lifetime, half, half.events(), 1e-5, 6) is Reason.BUDGET
    below = replace(POLICY, lifetime_epsilon=PLD_OF_PLAN - 0.01)
    assert refusal(below.check_lifetime, PLAN, [], 1e-5, 6) is Reason.BUDGET
    # Order 6 sees 6/2 in all, which is ε = 3 + log(5/6) - (log 1e-5 + log 6)/5.
    above = replace(POLICY, lifetime_epsilon=4.76192)
    above.check_lifetime(half, half.events(), 1e-5, 6)
    at_most = replace(POLICY, lifetime_epsilon=4.76190)
    assert refusal(at_most.check_lifetime, half, half.events(), 1e-5, 6) is Reason.BUDGET


def test_an_accountant_that_does_not_know_is_no_permission(monkeypatch):
    monkeypatch.setattr(accounting, "epsilon", lambda *_: math.nan)
    monkeypatch.setattr(accounting, "renyi_divergence", lambda *_: math.nan)
    assert refusal(POLICY.check_cost, PLAN) is Reason.BUDGET
    assert refusal(POLICY.check_lifetime, PLAN, [], 1e-5, 3) is Reason.BUDGET
    assert refusal(POLICY.check_lifetime, PLAN, PLAN.events(), 1e-5, 3) is Reason.BUDGET


def test_a_round_may_differ_from_its_plan_only_by_fewer_steps():
    PLAN.check_event(replace(ROUND, steps=1))
    PLAN.check_event(ROUND)
    for other in (
        replace(ROUND, steps=11),
        replace(ROUND, steps=0),
        replace(ROUND, noise_multiplier=11.0),
        replace(ROUND, sampling_rate=0.5),
        replace(ROUND, clipping_norm=0.5),
        replace(ROUND, unit=Unit.PERSON),
        replace(ROUND, relation=Relation.REPLACE_WITH_ZERO),
        ExactRelease("sum"),
    ):
        assert refusal(PLAN.check_event, other) is Reason.PLAN_DIFFERS
    assert refusal(EXACT.check_event, ExactRelease("mean")) is Reason.PLAN_DIFFERS


@given(
    run=st.text(min_size=1),
    sigma=st.floats(1e-3, 1e3),
    rate=st.floats(1e-6, 1),
    steps=st.integers(1, 10**6),
    rounds=st.integers(1, 10**6),
    epsilon=st.floats(1e-6, 1e6),
    delta=st.floats(1e-12, 0.5),
    predictable=st.booleans(),
    unit=st.sampled_from(Unit),
)
def test_a_plan_is_read_as_it_was_written(
    run, sigma, rate, steps, rounds, epsilon, delta, predictable, unit
):
    event = GaussianSteps(sigma, rate, steps, 1.0, unit)
    plan = Plan(run, event, rounds, epsilon, delta, predictable)
    assert Plan.from_fields(plan.to_fields()) == plan
    assert plan.events() == [replace(event, steps=steps * rounds)]


def test_an_exact_plan_is_read_as_it_was_written():
    assert Plan.from_fields(EXACT.to_fields()) == EXACT
    assert EXACT.events() == [EXACT.event]
    assert with_steps(EXACT.event, 0) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"run": ""}, "run="),
        ({"rounds": 0}, "rounds=0"),
        ({"event": replace(ROUND, steps=0)}, "steps=0"),
        ({"epsilon": 0.0}, "epsilon=0.0"),
        ({"epsilon": math.inf}, "epsilon=inf"),
        ({"epsilon": math.nan}, "epsilon=nan"),
        ({"delta": 0.0}, "delta=0.0"),
        ({"delta": 1.0}, "delta=1.0"),
        ({"event": ExactRelease("sum")}, "epsilon=4.4 cannot hold"),
    ],
)
def test_a_plan_out_of_range_is_named(change, named):
    with pytest.raises(ConfigurationError, match=named):
        replace(PLAN, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon_per_run": 0.0},
        {"lifetime_epsilon": math.inf},
        {"delta_per_run": 1.0},
        {"least_noise_multiplier": -1.0},
        {"least_noise_multiplier": math.inf},
        {"most_rounds": 0},
    ],
)
def test_a_policy_out_of_range_names_its_key(change):
    with pytest.raises(ConfigurationError, match=next(iter(change))):
        replace(POLICY, **change)


def test_a_damaged_ledger_has_its_place_in_the_closed_list():
    assert LedgerError("").reason == Reason.LEDGER_DAMAGED
