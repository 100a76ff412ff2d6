"""What a run may spend: reserved first, charged before each round, nothing ever given back."""

import math
from dataclasses import replace

import pytest
from ledger_example import (
    EXACT,
    FILTER_OF_PLAN,
    PLAN,
    PLD_OF_PLAN,
    POLICY,
    ROUND,
    SEEDED,
    TEST_DATA,
    kinds,
    open_ledger,
    refusal,
)

from tacit.errors import TacitError
from tacit.privacy.events import Relation, Unit
from tacit.privacy.policy import Reason

# --- what one run does -----------------------------------------------------------------------


def test_a_run_goes_reserve_charge_reply(ledger):
    ledger.reserve(PLAN, POLICY)
    for number in range(10):
        charge = ledger.charge("a", f"r{number}", ROUND, POLICY)
        ledger.store_reply(charge, [b"reply %d" % number])
    assert refusal(ledger.charge, "a", "r10", ROUND, POLICY) is Reason.TOO_MANY_ROUNDS
    assert ledger.spent_events() == ledger.spent_events("a") == [replace(ROUND, steps=100)]
    assert kinds(ledger) == ["opened", "reserved", *["charged", "replied"] * 10]
    standing = ledger.standing()
    assert standing.pld == pytest.approx(PLD_OF_PLAN, abs=1e-4)
    # At order 3: 3/2 + log(2/3) - (log 1e-5 + log 3)/2.
    assert standing.rdp == pytest.approx(6.30169, abs=1e-4)
    assert (standing.order, standing.spent) == (3, pytest.approx(1.5))
    assert standing.committed == standing.spent


def test_a_new_ledger_has_spent_nothing(ledger):
    assert ledger.spent_events() == []
    assert (ledger.standing().pld, ledger.standing().rdp) == (0.0, 0.0)
    assert kinds(ledger) == ["opened"]


def test_nothing_is_charged_without_a_reservation(ledger):
    assert refusal(ledger.charge, "a", "r1", ROUND, POLICY) is Reason.NOT_RESERVED
    ledger.reserve(PLAN, POLICY)
    assert refusal(ledger.charge, "b", "r1", ROUND, POLICY) is Reason.NOT_RESERVED
    more = replace(ROUND, steps=11)
    assert refusal(ledger.charge, "a", "r1", more, POLICY) is Reason.PLAN_DIFFERS
    ledger.close_run("a")
    assert refusal(ledger.charge, "a", "r1", ROUND, POLICY) is Reason.NOT_RESERVED
    assert refusal(ledger.reserve, PLAN, POLICY) is Reason.NOT_RESERVED
    assert ledger.spent_events() == []


def test_the_same_plan_is_reserved_once_and_another_is_refused(ledger):
    ledger.reserve(PLAN, POLICY)
    ledger.reserve(PLAN, POLICY)
    assert kinds(ledger) == ["opened", "reserved"]
    assert refusal(ledger.reserve, replace(PLAN, rounds=9), POLICY) is Reason.PLAN_DIFFERS
    tighter = replace(POLICY, epsilon_per_run=4.0)
    assert refusal(ledger.reserve, PLAN, tighter) is Reason.BUDGET
    assert refusal(ledger.charge, "a", "r1", ROUND, tighter) is Reason.BUDGET


def test_unit_and_relation_are_the_data_sets(ledger):
    person = replace(PLAN, event=replace(ROUND, unit=Unit.PERSON))
    assert refusal(ledger.reserve, person, POLICY) is Reason.UNIT_DIFFERS
    zero = replace(PLAN, event=replace(ROUND, relation=Relation.REPLACE_WITH_ZERO))
    assert refusal(ledger.reserve, zero, POLICY) is Reason.RELATION_DIFFERS


def test_a_plan_over_its_budget_is_not_reserved(ledger):
    assert refusal(ledger.reserve, replace(PLAN, epsilon=4.3), POLICY) is Reason.BUDGET
    assert kinds(ledger) == ["opened"]


def test_a_request_without_a_reply_is_charged_anew(ledger):
    ledger.reserve(PLAN, POLICY)
    for _ in range(10):
        assert not ledger.charge("a", "r1", ROUND, POLICY).repeat
    assert refusal(ledger.charge, "a", "r1", ROUND, POLICY) is Reason.TOO_MANY_ROUNDS


def test_only_the_latest_reply_is_kept_and_its_request_is_not_charged(ledger):
    ledger.reserve(PLAN, POLICY)
    assert ledger.stored_reply("a", "r1") is None
    ledger.store_reply(ledger.charge("a", "r1", ROUND, POLICY), [b"\x00first\xff"])
    assert ledger.stored_reply("a", "r1") == [b"\x00first\xff"]
    assert ledger.stored_reply("b", "r1") is None
    with pytest.raises(TacitError, match="has a reply"):
        ledger.charge("a", "r1", ROUND, POLICY)
    ledger.store_reply(ledger.charge("a", "r2", ROUND, POLICY), [b""])
    assert ledger.stored_reply("a", "r1") is None
    assert ledger.stored_reply("a", "r2") == [b""]
    ledger.charge("a", "r1", ROUND, POLICY)
    assert ledger.spent_events() == [replace(ROUND, steps=30)]
    ledger.close_run("a")
    assert ledger.stored_reply("a", "r2") is None
    assert ledger._chain.reply("a") == []


def test_a_charge_is_settled_once_downward_and_never_after_its_reply(ledger):
    ledger.reserve(PLAN, POLICY)
    charge = ledger.charge("a", "r1", ROUND, POLICY)
    for steps in (10, 11, -1):
        with pytest.raises(TacitError, match="only sinks"):
            ledger.settle(charge, steps)
    ledger.settle(charge, 4)
    with pytest.raises(TacitError, match="settled or replied"):
        ledger.settle(charge, 3)
    assert ledger.spent_events() == [replace(ROUND, steps=4)]
    replied = ledger.charge("a", "r2", ROUND, POLICY)
    ledger.store_reply(replied, [b"reply"])
    with pytest.raises(TacitError, match="settled or replied"):
        ledger.settle(replied, 0)
    with pytest.raises(TacitError, match="has a reply"):
        ledger.store_reply(replied, [b"another"])


def test_a_round_settled_to_nothing_is_free_again_and_pays_for_no_reply(ledger):
    ledger.reserve(replace(PLAN, rounds=1), POLICY)
    charge = ledger.charge("a", "r1", ROUND, POLICY)
    ledger.settle(charge, 0)
    with pytest.raises(TacitError, match="settled to nothing"):
        ledger.store_reply(charge, [b"for nothing"])
    ledger.settle(ledger.charge("a", "r1", ROUND, POLICY), 1)
    assert refusal(ledger.charge, "a", "r2", ROUND, POLICY) is Reason.TOO_MANY_ROUNDS


def test_a_charge_of_another_ledger_is_not_taken(ledger, tmp_path):
    ledger.reserve(PLAN, POLICY)
    charge = ledger.charge("a", "r1", ROUND, POLICY)
    for forged in (replace(charge, number=2), replace(charge, event=replace(ROUND, steps=9))):
        with pytest.raises(TacitError, match="not of this ledger"):
            ledger.settle(forged, 0)
        with pytest.raises(TacitError, match="not of this ledger"):
            ledger.store_reply(forged, [b""])


# --- predictable noise and exact releases ------------------------------------------------------


def test_predictable_noise_needs_test_data_and_makes_the_lifetime_infinite(ledger):
    assert refusal(ledger.reserve, SEEDED, POLICY) is Reason.DATA_NOT_TEST
    ledger.reserve(SEEDED, TEST_DATA)
    assert ledger.standing().pld == 0.0
    assert refusal(ledger.charge, "a", "r1", ROUND, POLICY) is Reason.DATA_NOT_TEST
    ledger.charge("a", "r1", ROUND, TEST_DATA)
    assert (ledger.standing().pld, ledger.standing().rdp) == (math.inf, math.inf)
    assert ledger.spent_events("a") == [ROUND]
    ledger.reserve(replace(SEEDED, run="b"), TEST_DATA)
    ledger.reserve(EXACT, TEST_DATA)


def test_a_repeated_predictable_round_is_no_further_round(ledger):
    ledger.reserve(replace(SEEDED, rounds=2), TEST_DATA)
    first = ledger.charge("a", "r1", ROUND, TEST_DATA)
    ledger.settle(first, 3)
    assert ledger.spent_events() == [replace(ROUND, steps=3)]
    again = ledger.charge("a", "r1", ROUND, TEST_DATA)
    assert (first.repeat, again.repeat) == (False, True)
    assert ledger.spent_events() == [ROUND]
    ledger.settle(again, 5)
    assert ledger.spent_events() == [replace(ROUND, steps=5)]
    ledger.charge("a", "r2", ROUND, TEST_DATA)
    ledger.store_reply(ledger.charge("a", "r1", ROUND, TEST_DATA), [b"reply"])
    assert refusal(ledger.charge, "a", "r3", ROUND, TEST_DATA) is Reason.TOO_MANY_ROUNDS
    assert ledger.spent_events() == [replace(ROUND, steps=20)]


def test_runs_with_and_without_a_finite_epsilon_never_share_a_ledger(ledger, tmp_path):
    ledger.reserve(PLAN, TEST_DATA)
    assert refusal(ledger.reserve, replace(SEEDED, run="b"), TEST_DATA) is Reason.BUDGET
    assert refusal(ledger.reserve, EXACT, TEST_DATA) is Reason.BUDGET
    with open_ledger(tmp_path / "other.sqlite") as other:
        other.reserve(EXACT, TEST_DATA)
        other.charge("x", "r1", EXACT.event, TEST_DATA)
        assert other.standing().pld == math.inf
        assert other.spent_events() == [EXACT.event]
        assert refusal(other.reserve, PLAN, TEST_DATA) is Reason.BUDGET


def test_an_exact_release_is_refused_where_privacy_is_required(ledger):
    private = replace(TEST_DATA, require_privacy=True)
    assert refusal(ledger.reserve, EXACT, private) is Reason.PRIVACY_REQUIRED


# --- the lifetime ------------------------------------------------------------------------------


def test_a_second_run_is_refused_by_the_filter_over_both(ledger, tmp_path):
    half = replace(PLAN, rounds=5)
    policy = replace(POLICY, lifetime_epsilon=(PLD_OF_PLAN + FILTER_OF_PLAN) / 2)
    ledger.reserve(half, policy)
    second = replace(half, run="b")
    assert refusal(ledger.reserve, second, policy) is Reason.BUDGET
    enough = replace(policy, lifetime_epsilon=FILTER_OF_PLAN)
    with open_ledger(tmp_path / "enough.sqlite") as other:
        other.reserve(half, enough)
        other.reserve(second, enough)


def test_closing_a_run_frees_only_what_was_not_charged(ledger):
    policy = replace(POLICY, lifetime_epsilon=FILTER_OF_PLAN)
    ledger.reserve(PLAN, policy)
    ledger.charge("a", "r1", ROUND, policy)
    rest = replace(PLAN, run="b", rounds=9)
    assert refusal(ledger.reserve, rest, policy) is Reason.BUDGET
    ledger.close_run("a")
    assert refusal(ledger.reserve, replace(PLAN, run="b"), policy) is Reason.BUDGET
    ledger.reserve(rest, policy)
    assert ledger.spent_events() == [ROUND]


def test_closing_twice_writes_one_row_and_a_stranger_none(ledger):
    ledger.reserve(PLAN, POLICY)
    ledger.close_run("a")
    ledger.close_run("a")
    assert kinds(ledger).count("closed") == 1
    assert refusal(ledger.close_run, "b") is Reason.NOT_RESERVED


def test_the_lifetime_is_counted_at_the_ledgers_delta(tmp_path):
    # At a smaller lifetime δ the same run costs more than it declares at its own.
    policy = replace(POLICY, lifetime_epsilon=4.5)
    with open_ledger(tmp_path / "small.sqlite", delta=1e-9) as small:
        assert refusal(small.reserve, PLAN, policy) is Reason.BUDGET
    with open_ledger(tmp_path / "same.sqlite") as same:
        same.reserve(PLAN, policy)
        assert kinds(same) == ["opened", "reserved"]


def test_a_run_that_goes_on_is_not_counted_beside_itself(ledger):
    policy = replace(POLICY, lifetime_epsilon=4.5)
    ledger.reserve(PLAN, policy)
    ledger.charge("a", "r1", ROUND, policy)
    ledger.reserve(PLAN, policy)
    assert kinds(ledger) == ["opened", "reserved", "charged"]
    # The budget is too small for any other run beside it.
    another = replace(PLAN, run="b", rounds=1)
    assert refusal(ledger.reserve, another, policy) is Reason.BUDGET
