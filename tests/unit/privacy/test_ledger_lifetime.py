"""What a ledger admits over its life: one order for good, a run alone, limits that change."""

import json
import math
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_example import PLAN, PLD_OF_PLAN, POLICY, ROUND, SEEDED, TEST_DATA, open_ledger, refusal

from tacit.errors import RefusedError
from tacit.privacy.accounting import renyi_divergence
from tacit.privacy.book import Run
from tacit.privacy.ledger_filter import filter_order, renyi_budget
from tacit.privacy.policy import Reason

HALF = replace(PLAN, rounds=5)
ONE = replace(PLAN, rounds=1)


def life(epsilon):
    return replace(POLICY, lifetime_epsilon=epsilon)


def filters(ledger):
    bodies = [json.loads(row.body) for row in ledger.rows()]
    return [body["filter"] for body in bodies if body["kind"] == "reserved/1"]


# --- the order ---------------------------------------------------------------------------------


def test_the_first_private_run_fixes_the_order_for_good(ledger):
    ledger.reserve(ONE, life(10.0))
    ledger.reserve(replace(ONE, run="b"), life(6.0))
    assert (filter_order(10.0, 1e-5), filter_order(6.0, 1e-5)) == (3, 5)
    assert filters(ledger) == [
        {"order": 3, "lifetime_epsilon": 10.0},
        {"order": 3, "lifetime_epsilon": 6.0},
    ]
    assert ledger.standing().order == 3


def test_the_order_stands_though_what_fixed_it_was_refused_later_or_spent_nothing(path):
    with open_ledger(path) as ledger:
        assert refusal(ledger.reserve, PLAN, life(1.0)) is Reason.BUDGET
        assert ledger.standing().order is None
        ledger.reserve(ONE, life(2.0))
        ledger.close_run("a")
    with open_ledger(path) as ledger:
        ledger.reserve(replace(ONE, run="b"), life(10.0))
        assert ledger.standing().order == filter_order(2.0, 1e-5) == 10


def test_where_no_epsilon_is_finite_there_is_no_filter(ledger):
    ledger.reserve(SEEDED, TEST_DATA)
    assert filters(ledger) == [None]
    assert ledger.standing().order is None
    ledger.charge("a", "r1", ROUND, TEST_DATA)
    assert ledger.standing().spent == math.inf


# --- limits that change ------------------------------------------------------------------------


def test_a_raised_limit_moves_the_budget_at_the_old_order(ledger):
    # Order 18 is that of ε = 1; a round there costs 18 · 10/200 = 0.9.
    ledger.reserve(ONE, life(1.0 + 0.2))
    order = ledger.standing().order
    ledger.charge("a", "r1", ROUND, life(1.2))
    assert refusal(ledger.reserve, replace(ONE, run="b"), life(1.2)) is Reason.BUDGET
    cost = order * 10 / 200
    fits = int(renyi_budget(4.0, 1e-5, order) / cost)
    for number in range(fits - 1):
        ledger.reserve(replace(ONE, run=f"more {number}"), life(4.0))
    assert refusal(ledger.reserve, replace(ONE, run="one too many"), life(4.0)) is Reason.BUDGET
    assert {each["order"] for each in filters(ledger)} == {order}
    # A ledger that began with ε = 4 admits more.
    best = filter_order(4.0, 1e-5)
    assert fits < int(renyi_budget(4.0, 1e-5, best) / (best * 10 / 200))


def test_a_lowered_limit_admits_only_what_fits_below_it(ledger):
    ledger.reserve(ONE, life(10.0))
    ledger.charge("a", "r1", ROUND, POLICY)
    # At order 3 even a divergence of 0 is ε = log(2/3) - (log 1e-5 + log 3)/2 = 4.8.
    assert refusal(ledger.reserve, replace(ONE, run="b"), life(4.8)) is Reason.BUDGET
    ledger.reserve(replace(ONE, run="b"), life(5.2))


# --- a run alone -------------------------------------------------------------------------------


def test_a_run_alone_may_cost_what_pld_allows(ledger):
    limit = life(PLD_OF_PLAN + 0.01)
    ledger.reserve(PLAN, limit)
    standing = ledger.standing()
    assert standing.committed > renyi_budget(PLD_OF_PLAN + 0.01, 1e-5, standing.order)
    ledger.charge("a", "r1", ROUND, limit)
    ledger.reserve(PLAN, limit)


def test_after_a_run_that_only_pld_allowed_no_other_follows_however_early_it_ended(ledger):
    limit = life(PLD_OF_PLAN + 0.01)
    ledger.reserve(PLAN, limit)
    ledger.charge("a", "r1", ROUND, limit)
    ledger.close_run("a")
    small = replace(PLAN, run="b", event=replace(ROUND, steps=1), rounds=1)
    assert refusal(ledger.reserve, small, limit) is Reason.BUDGET
    # Neither a lower limit nor a little more changes that; one that holds the whole plan does.
    assert refusal(ledger.reserve, small, life(PLD_OF_PLAN)) is Reason.BUDGET
    assert refusal(ledger.reserve, small, life(PLD_OF_PLAN + 0.02)) is Reason.BUDGET
    ledger.reserve(small, life(10.0))


def test_a_run_that_only_pld_allowed_and_that_released_nothing_is_forgotten(ledger):
    limit = life(PLD_OF_PLAN + 0.01)
    ledger.reserve(PLAN, limit)
    ledger.settle(ledger.charge("a", "r1", ROUND, limit), 0)
    ledger.close_run("a")
    ledger.reserve(replace(PLAN, run="b"), limit)


def test_a_run_within_the_filter_that_ended_early_frees_its_rest_under_a_lower_limit(ledger):
    ledger.reserve(PLAN, life(10.0))
    ledger.charge("a", "r1", ROUND, POLICY)
    ledger.close_run("a")
    # The whole plan (1.5 at order 3) would be over ε = 6; what was charged (0.15) is not.
    assert 0.3 < renyi_budget(6.0, 1e-5, 3) < 1.5
    ledger.reserve(replace(ONE, run="b"), life(6.0))


def test_planted_rounds_given_back_would_let_a_second_run_in(ledger, monkeypatch):
    limit = life(PLD_OF_PLAN + 0.01)
    ledger.reserve(PLAN, limit)
    ledger.charge("a", "r1", ROUND, limit)
    ledger.close_run("a")
    monkeypatch.setattr(Run, "counted", lambda run, budget: run.committed())
    ledger.reserve(replace(ONE, run="b"), limit)


# --- whatever is asked -------------------------------------------------------------------------

ASKED = st.lists(
    st.one_of(
        st.tuples(
            st.just("reserve"), st.floats(1.0, 40.0), st.integers(1, 9), st.floats(1.0, 12.0)
        ),
        st.tuples(st.just("charge"), st.integers(0, 5)),
        st.tuples(st.just("close"), st.integers(0, 5)),
    ),
    min_size=4,
    max_size=20,
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(asked=ASKED)
def test_all_runs_together_never_cost_more_than_the_largest_limit(asked):
    with tempfile.TemporaryDirectory() as directory:
        ledger = open_ledger(Path(directory) / "ward.sqlite")
        policy = replace(POLICY, epsilon_per_run=1e6, lifetime_epsilon=1.0)
        largest, runs = 0.0, []
        for what, *arguments in asked:
            with suppress(RefusedError, IndexError):
                if what == "reserve":
                    sigma, rounds, limit = arguments
                    event = replace(ROUND, noise_multiplier=sigma)
                    plan = replace(
                        PLAN, run=str(len(runs)), event=event, rounds=rounds, epsilon=1e3
                    )
                    ledger.reserve(plan, replace(policy, lifetime_epsilon=limit))
                    runs.append(plan)
                    largest = max(largest, limit)
                elif what == "charge":
                    plan = runs[arguments[0]]
                    ledger.charge(plan.run, str(ledger.receipt().count), plan.event, policy)
                else:
                    ledger.close_run(runs[arguments[0]].run)
        with ledger:
            standing = ledger.standing()
            assert standing.pld <= largest + 1e-6
            together = [run for run in ledger.runs().values() if run.committed()]
            if len(together) > 1:
                assert standing.committed <= renyi_budget(largest, 1e-5, standing.order)
                whole = [event for run in together for event in run.plan.events()]
                if all(not run.closed for run in together):
                    assert standing.committed == renyi_divergence(whole, standing.order)
