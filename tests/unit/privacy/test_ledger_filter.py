"""The Rényi filter: other people's numbers, its laws, and what only a best order would admit."""

import itertools
import math
from dataclasses import replace

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant, compute_epsilon
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ledger_example import refusal
from opacus.accountants.analysis.rdp import compute_rdp

from tacit.privacy import policy as policy_module
from tacit.privacy.accounting import Accountant, epsilon, renyi_divergence
from tacit.privacy.events import ExactRelease, GaussianSteps, Unit
from tacit.privacy.ledger_filter import filter_order, renyi_budget, renyi_epsilon
from tacit.privacy.policy import Plan, Policy, Reason

DELTA = 1e-5
BUDGETS = [(0.1, 1e-5), (1.0, 1e-4), (1.0, 1e-5), (3.0, 1e-9), (8.0, 1e-5), (30.0, 1e-6)]


def steps(sigma, rate, count):
    return GaussianSteps(sigma, rate, count, clipping_norm=1.0)


def plan_of(event, name="next"):
    return Plan(name, event, rounds=1, epsilon=1.0, delta=DELTA)


def policy_of(epsilon):
    return Policy(epsilon_per_run=1e6, lifetime_epsilon=epsilon, delta_per_run=DELTA)


EVENTS = st.builds(
    steps,
    st.floats(0.5, 50),
    st.sampled_from([1.0, 0.5, 0.1, 0.01, 1e-4]),
    st.integers(1, 2000),
)
LIFETIMES = st.floats(0.05, 50)


# --- other people's numbers --------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 3, 18, 200])
@pytest.mark.parametrize(("sigma", "count"), [(1.0, 1), (10.0, 100), (0.3, 7)])
def test_a_full_batch_diverges_by_the_closed_form(sigma, count, order):
    """Mironov 2017, proposition 7: α/(2σ²) for each step."""
    wanted = count * order / (2 * sigma**2)
    assert renyi_divergence([steps(sigma, 1.0, count)], order) == pytest.approx(wanted, rel=1e-11)


@pytest.mark.parametrize("order", [2, 4, 18, 64])
@pytest.mark.parametrize(
    ("sigma", "rate", "count"), [(1, 0.01, 1000), (2, 0.1, 500), (0.7, 0.001, 90), (5, 0.5, 30)]
)
def test_sampled_steps_diverge_as_two_other_accountants_say(sigma, rate, count, order):
    ours = renyi_divergence([steps(sigma, rate, count)], order)
    opacus = compute_rdp(q=rate, noise_multiplier=sigma, steps=count, orders=[order])
    google = RdpAccountant([order]).compose(
        SelfComposedDpEvent(PoissonSampledDpEvent(rate, GaussianDpEvent(sigma)), count)
    )
    assert ours == pytest.approx(float(opacus[0]), rel=1e-9)
    assert ours == pytest.approx(float(google.rdp[0]), rel=1e-9)
    assert ours >= google.rdp[0]


@pytest.mark.parametrize(("life", "delta"), BUDGETS)
def test_the_budget_is_the_divergence_that_converts_to_epsilon(life, delta):
    order = filter_order(life, delta)
    budget = renyi_budget(life, delta, order)
    assert compute_epsilon([order], [budget], delta)[0] == pytest.approx(life, rel=1e-12)
    assert renyi_epsilon(budget, delta, order) == pytest.approx(life, rel=1e-12)
    assert budget < life


@pytest.mark.parametrize(("life", "delta"), BUDGETS)
def test_no_other_order_leaves_room_for_more_gaussian_noise(life, delta):
    """By dp_accounting's conversion: the largest sum of 1/σ² of each order, found by halving."""

    def room(order):
        low, high = 0.0, 2 * life
        for _ in range(60):
            middle = (low + high) / 2
            spent = compute_epsilon([order], [order * middle / 2], delta)[0]
            low, high = (middle, high) if spent <= life else (low, middle)
        return low

    order = filter_order(life, delta)
    assert room(order) == pytest.approx(max(map(room, range(2, 300))), rel=1e-9)
    # The plain conversion, ρ + log(1/δ)/(α - 1), has a closed form, which lies above.
    log = math.log(1 / delta)
    plain = 1 + (log + math.sqrt(log**2 + life * log)) / life
    assert plain / 2 <= order <= plain + 0.5


def test_what_no_order_allows_has_no_budget():
    assert renyi_budget(0.001, DELTA, filter_order(0.001, DELTA)) == 0
    assert renyi_budget(1.0, DELTA, filter_order(10.0, DELTA)) == 0
    for nothing in ([ExactRelease("sum")], [steps(1e-9, 1.0, 1)]):
        assert renyi_divergence(nothing, 2) == math.inf
    assert renyi_epsilon(math.inf, DELTA, 2) == math.inf
    assert renyi_divergence([], 2) == 0
    with pytest.raises(ValueError, match="unit"):
        renyi_divergence([steps(1, 1, 1), replace(steps(1, 1, 1), unit=Unit.PERSON)], 2)


# --- its laws ----------------------------------------------------------------------------------


def admitted(life, order, others, event):
    try:
        policy_of(life).check_lifetime(plan_of(event), others, DELTA, order)
    except policy_module.RefusedError:
        return False
    return True


@settings(max_examples=150, deadline=None, derandomize=True)
@given(life=LIFETIMES, events=st.lists(EVENTS, min_size=2, max_size=8))
def test_never_more_than_the_budget_is_admitted(life, events):
    order = filter_order(life, DELTA)
    first, *rest = events
    assume(admitted(life, order, [steps(1e6, 1.0, 1)], first))
    stands = [first]
    for event in rest:
        if admitted(life, order, stands, event):
            stands.append(event)
    accountant = RdpAccountant([order])
    for event in stands:
        accountant.compose(
            PoissonSampledDpEvent(event.sampling_rate, GaussianDpEvent(event.noise_multiplier)),
            event.steps,
        )
    assert accountant.get_epsilon(DELTA) <= life * (1 + 1e-9)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(life=LIFETIMES, events=st.lists(EVENTS, min_size=2, max_size=4))
def test_the_order_of_runs_does_not_matter(life, events):
    order = filter_order(life, DELTA)
    said = {
        (admitted(life, order, others, last), renyi_divergence([*others, last], order))
        for *others, last in itertools.permutations(events)
    }
    assert len(said) == 1


@settings(max_examples=100, deadline=None, derandomize=True)
@given(life=LIFETIMES, others=st.lists(EVENTS, min_size=1, max_size=3), event=EVENTS, extra=EVENTS)
def test_less_noise_more_steps_and_more_runs_never_help(life, others, event, extra):
    order = filter_order(life, DELTA)
    noisier = replace(event, noise_multiplier=2 * event.noise_multiplier)
    longer = replace(event, steps=2 * event.steps)
    ours = admitted(life, order, others, event)
    assert ours <= admitted(life, order, others, noisier)
    assert ours >= admitted(life, order, others, longer)
    assert ours >= admitted(life, order, [*others, extra], event)
    assert ours <= admitted(2 * life, order, others, event)


# --- planted -----------------------------------------------------------------------------------


def test_planted_the_best_order_at_each_check_admits_what_the_filter_refuses():
    # 100 steps at q = 0.01 and σ = 0.902 cost ε = 1 alone. Of ε = 2 the order that suits a Gaussian
    # is 10, at which little noise costs very much; the best order for these events is about 7.
    run, life = steps(0.902, 0.01, 100), 2.0
    order = filter_order(life, DELTA)
    assert order == 10
    assert epsilon([run, run], DELTA, Accountant.RDP) <= life
    assert refusal(policy_of(life).check_lifetime, plan_of(run), [run], DELTA, order) is (
        Reason.BUDGET
    )
    policy_of(life).check_lifetime(plan_of(run), [run], DELTA, 7)


def test_planted_an_order_chosen_after_the_outputs_admits_what_no_fixed_order_does():
    # After the same start, each fixed order stops one of two ways on. The best order stops neither:
    # whoever goes on by what the start showed has no bound at any one order.
    life = 2.0
    start, gaussian, sampled = steps(10, 1.0, 3), steps(2.6, 1.0, 1), steps(0.9, 0.01, 100)
    ways = {
        order: [admitted(life, order, [start], way) for way in (gaussian, sampled)]
        for order in (6, 10)
    }
    best = [epsilon([start, way], DELTA, Accountant.RDP) <= life for way in (gaussian, sampled)]
    assert ways == {6: [False, True], 10: [True, False]}
    assert best == [True, True]
