"""ε against other people's numbers, its laws, and bugs planted to see the cross-check find them."""

import itertools
import logging
import math
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, get_epsilon_gaussian
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import GaussianAccountant, PRVAccountant

from tacit.privacy import accounting
from tacit.privacy.accounting import Accountant, epsilon, epsilon_by_steps
from tacit.privacy.events import ExactRelease, GaussianSteps, Relation, Unit

# What the libraries say at a rate of 1, at tiny losses and of their own accountants.
pytestmark = pytest.mark.filterwarnings(
    "ignore:divide by zero encountered in log:RuntimeWarning",
    "ignore:Optimal order is the largest alpha:UserWarning",
    "ignore:GDP accounting is experimental:UserWarning",
)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """No planted fault meets a number from before it, and none outlives its test."""
    monkeypatch.setattr(accounting, "_epsilon", accounting._epsilon.__wrapped__)


def steps(sigma: float, rate: float, count: int, **names: Any) -> GaussianSteps:
    return GaussianSteps(sigma, rate, count, clipping_norm=1.0, **names)


def prv(events: Sequence[GaussianSteps], delta: float, **error: float) -> float:
    """ε by Opacus, from the events as they are: shares no code with what is tested."""
    accountant = PRVAccountant()
    accountant.history = [(e.noise_multiplier, e.sampling_rate, e.steps) for e in events]
    return float(accountant.get_epsilon(delta, **error))


def agree(ours: float, theirs: float) -> bool:
    """PRV overstates by its error of 0.01; both are upper bounds."""
    return abs(ours - theirs) <= 0.02 + 0.01 * theirs


SETTINGS = [
    ([steps(1, 0.01, 1000)], 1e-5),
    ([steps(0.6, 0.01, 1000)], 1e-5),
    ([steps(2, 0.1, 500)], 1e-5),
    ([steps(10, 1, 100)], 1e-5),
    ([steps(30, 1, 200)], 1e-4),
    ([steps(20, 0.001, 10000)], 1e-5),
    ([steps(3, 0.2, 20)], 1e-4),
    ([steps(0.8, 0.9, 3)], 1e-5),
    ([steps(1.2, 0.05, 100)], 1e-5),
    ([steps(5, 0.999, 30)], 1e-6),
    ([steps(1, 0.01, 500), steps(1.5, 0.02, 300), steps(30, 1, 10)], 1e-5),
    ([steps(30, 1, 10), steps(20, 1, 5)], 1e-5),
]


@pytest.mark.parametrize(("events", "delta"), SETTINGS)
def test_pld_agrees_with_prv(events: list[GaussianSteps], delta: float) -> None:
    assert agree(epsilon(events, delta), prv(events, delta))


def test_prv_is_opacus() -> None:
    assert epsilon([steps(3, 0.2, 20)], 1e-4, Accountant.PRV) == prv([steps(3, 0.2, 20)], 1e-4)


@pytest.mark.parametrize(
    ("event", "expected"),
    [(steps(1, 0.01, 1000), 1.828), (steps(10, 1, 100), 4.377)],
)
def test_known_epsilon(event: GaussianSteps, expected: float) -> None:
    assert epsilon([event], 1e-5) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("sigma", [0.5, 1, 3, 20])
def test_full_batch_meets_the_definition(sigma: float) -> None:
    """Balle and Wang 2018, theorem 8: δ = Φ(1/2σ - εσ) - e^ε Φ(-1/2σ - εσ)."""

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    spent = epsilon([steps(2 * sigma, 1, 4)], 1e-3)  # four steps at 2σ are one at σ

    delta = phi(0.5 / sigma - spent * sigma) - math.exp(spent) * phi(-0.5 / sigma - spent * sigma)
    assert delta == pytest.approx(1e-3, rel=1e-6) or (spent == 0 and delta < 1e-3)


def test_small_losses_are_not_lost_in_the_grid() -> None:
    """Opacus's PRV with a finer error brackets what is 0.0167 on dp_accounting's own grid."""
    event = steps(20, 0.001, 10000)
    fine = prv([event], 1e-5, eps_error=1e-3)
    # PRV overstates by its error (1e-3, then 5e-4 and so on meet at 0.01253), our grid by 0.1 %.
    assert fine - 1.1e-3 <= epsilon([event], 1e-5) <= fine


@settings(max_examples=25, deadline=None)
@given(
    sigma=st.floats(0.5, 20),
    rate=st.floats(0.001, 1),
    count=st.integers(1, 2000),
    delta=st.floats(1e-8, 1e-3),
)
def test_rdp_is_never_below_pld(sigma: float, rate: float, count: int, delta: float) -> None:
    event = steps(sigma, rate, count)
    bound = epsilon([event], delta, Accountant.RDP)
    if rate == 1 or bound > accounting.HOPELESS_EPSILON:
        assert epsilon([event], delta) <= bound
    else:  # the PLD itself, before the smaller of the two is taken
        merged = {(sigma, rate): count}
        assert accounting._pld_epsilon(merged, delta, Relation.ADD_OR_REMOVE_ONE) <= bound


@settings(max_examples=15, deadline=None)
@given(
    sigma=st.floats(0.6, 10),
    rate=st.sampled_from([0.01, 0.2, 1.0]),
    count=st.integers(1, 500),
    accountant=st.sampled_from([Accountant.PLD, Accountant.RDP]),
)
def test_more_steps_cost_more_and_more_noise_costs_less(
    sigma: float, rate: float, count: int, accountant: Accountant
) -> None:
    spent = epsilon([steps(sigma, rate, count)], 1e-6, accountant)
    longer = epsilon([steps(sigma, rate, count + max(1, count // 20))], 1e-6, accountant)
    noisier = epsilon([steps(sigma * 1.05, rate, count)], 1e-6, accountant)
    assert noisier < spent < longer


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 99), st.sampled_from([(1.5, 0.05), (12.0, 1.0)]))
def test_how_steps_are_split_into_events_makes_no_difference(
    first: int, mechanism: tuple[float, float]
) -> None:
    split = [steps(*mechanism, first), steps(*mechanism, 100 - first)]
    assert epsilon(split, 1e-5) == pytest.approx(epsilon([steps(*mechanism, 100)], 1e-5), rel=1e-9)


def test_nothing_done_costs_nothing() -> None:
    for accountant in Accountant:
        assert epsilon([], 1e-5, accountant) == 0
        assert epsilon([steps(1, 0.1, 0)], 1e-5, accountant) == 0


def test_an_exact_release_costs_everything() -> None:
    for accountant in Accountant:
        assert epsilon([steps(10, 1, 1), ExactRelease("count")], 1e-5, accountant) == math.inf


def test_zeroing_one_costs_what_removing_one_does() -> None:
    """With the other data set's contribution at zero the two sums are distributed alike."""
    for accountant in Accountant:
        zeroed = [steps(1, 0.01, 100, relation=Relation.REPLACE_WITH_ZERO)]
        assert epsilon(zeroed, 1e-5, accountant) == epsilon([steps(1, 0.01, 100)], 1e-5, accountant)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (steps(1, 0.1, 5, unit=Unit.CLIENT), ["unit", "record", "client"]),
        (ExactRelease("mean", unit=Unit.PERSON), ["unit", "record", "person"]),
        (
            steps(1, 0.1, 0, relation=Relation.REPLACE_WITH_ZERO),
            ["relation", "add_or_remove_one", "replace_with_zero"],
        ),
    ],
)
def test_mixed_events_are_refused(other: GaussianSteps | ExactRelease, words: list[str]) -> None:
    with pytest.raises(ValueError, match="account for each") as refused:
        epsilon([steps(1, 0.1, 5), other], 1e-5)
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize("delta", [0, 1, -1e-5, math.nan, math.inf])
def test_delta_out_of_range(delta: float) -> None:
    with pytest.raises(ValueError, match="delta="):
        epsilon([steps(1, 0.1, 5)], delta)


@pytest.mark.parametrize("sigma", [1e-300, 1e-3, 0.1, 1e6, 1e300])
@pytest.mark.parametrize("rate", [1e-9, 0.3, 1])
def test_any_amount_of_noise_has_a_price(sigma: float, rate: float) -> None:
    assert epsilon([steps(sigma, rate, 1000)], 1e-10) >= 0  # 38 GB on dp_accounting's own grid


def test_hopeless_noise_gets_the_rdp_number() -> None:
    event = steps(0.2, 0.5, 100)
    bound = epsilon([event], 1e-5, Accountant.RDP)
    assert bound > accounting.HOPELESS_EPSILON
    assert epsilon([event], 1e-5) == epsilon([event], 1e-5, Accountant.PRV) == bound


PLANS = [steps(1.2, 0.05, 100), steps(10, 1, 100), steps(0.25, 0.3, 40)]


@pytest.mark.parametrize("plan", PLANS, ids=["sampled", "full batch", "hopeless"])
def test_epsilon_by_steps_rises_to_the_whole_plan(plan: GaussianSteps) -> None:
    checkpoints = range(0, plan.steps + 1, 5)
    spent = epsilon_by_steps(plan, checkpoints, 1e-5)
    assert spent[0] == 0
    assert all(before < after for before, after in itertools.pairwise(spent))
    assert spent[-1] == pytest.approx(epsilon([plan], 1e-5), rel=1e-6)


def test_a_checkpoint_outside_the_plan_is_refused() -> None:
    for outside in (-1, 101):
        with pytest.raises(ValueError, match=f"checkpoint {outside} "):
            epsilon_by_steps(PLANS[0], [5, outside], 1e-5)


def test_only_dropped_orders_go_unmentioned(caplog: pytest.LogCaptureFixture) -> None:
    accounting._one_step_rdp.cache_clear()
    absl = logging.getLogger("absl")
    epsilon([steps(1, 0.3, 1)], 1e-5, Accountant.RDP)
    assert not caplog.records
    with accounting._dropped_orders_unmentioned():
        absl.warning("something else")
    RdpAccountant().compose(PoissonSampledDpEvent(0.3, GaussianDpEvent(1.0)))
    first, *others = caplog.messages
    assert first == "something else"
    assert others  # dp_accounting does say so by itself
    assert all("failed to converge" in message for message in others)


def test_importing_is_cheap() -> None:
    heavy = {"dp_accounting", "opacus", "torch", "scipy", "numpy"}
    code = "import sys, tacit.privacy.accounting, tacit.privacy.calibration; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    assert not heavy & set(loaded)


# Planted bugs: the check that passes above must fail on each of these.


@pytest.mark.parametrize(
    ("event", "bug"),
    [
        (steps(1, 0.3, 3), lambda sigma, rate, n: ((sigma, rate), n - 1)),
        (steps(2, 1, 3), lambda sigma, rate, n: ((sigma, rate), n - 1)),
        (steps(10, 1, 100), lambda sigma, rate, n: ((sigma, 0.9), n)),
        (steps(1, 0.01, 1000), lambda sigma, rate, n: ((sigma * 1.05, rate), n)),
        (steps(1, 0.01, 1000), lambda sigma, rate, n: ((sigma, 1.0), n)),
    ],
    ids=["step dropped", "full batch dropped", "full batch sampled", "σ", "sampling forgotten"],
)
def test_cross_check_finds_events_misread(
    event: GaussianSteps, bug: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = dict([bug(event.noise_multiplier, event.sampling_rate, event.steps)])
    theirs = prv([event], 1e-5)
    assert agree(epsilon([event], 1e-5), theirs)
    monkeypatch.setattr(accounting, "merged", lambda events: wrong)
    assert not agree(epsilon([event], 1e-5), theirs)


def test_cross_check_finds_the_central_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opacus's GDP accountant says 1.6177 where 1.828 is true."""

    def gdp(merged: accounting.Steps, delta: float, relation: Relation) -> float:
        accountant = GaussianAccountant()
        accountant.history = [(sigma, rate, n) for (sigma, rate), n in merged.items()]
        return float(accountant.get_epsilon(delta))

    monkeypatch.setattr(accounting, "_pld_epsilon", gdp)
    event = steps(1, 0.01, 1000)
    ours = epsilon([event], 1e-5)
    assert ours == pytest.approx(1.6177, abs=1e-4)
    assert not agree(ours, prv([event], 1e-5))


def test_what_the_transform_loses_is_kept_back() -> None:
    """Where the exact Gaussian is known; 2e-17 a step was lost when this was written."""
    count, exact_delta = 10**4, 1e-12
    merged = {(50.0, 1.0): count}
    one = accounting._one_step_pld(
        50.0, 1.0, accounting.grid_of(merged), Relation.ADD_OR_REMOVE_ONE
    )
    exact_epsilon = get_epsilon_gaussian(50 / math.sqrt(count), exact_delta)
    lost = exact_delta - one.self_compose(count).get_delta_for_epsilon(exact_epsilon)
    assert lost / count < accounting.ROUNDING_PER_STEP / 5


def test_delta_smaller_than_rounding_gets_the_rdp_number() -> None:
    for delta, falls_back in ((1e-12, True), (1e-10, False)):
        bound = epsilon([steps(100, 0.5, 10**4)], delta, Accountant.RDP)
        assert (epsilon([steps(100, 0.5, 10**4)], delta) == bound) is falls_back


def test_rounding_in_rdp_never_flatters(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small a loss over many steps is a Gaussian's, μ = √steps × q ÷ σ, and not nothing."""
    event, delta = steps(1e6, 1e-4, 100), 1e-10
    assert epsilon([event], delta, Accountant.RDP) >= get_epsilon_gaussian(1e9, delta) > 0
    monkeypatch.setattr(accounting, "_RDP_ROUNDING", 0.0)
    accounting._one_step_rdp.cache_clear()
    assert epsilon([event], delta, Accountant.RDP) == 0
    accounting._one_step_rdp.cache_clear()
