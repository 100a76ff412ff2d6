"""What is added up from a ledger, against numbers from elsewhere."""

import json
import math
import re
from dataclasses import replace

import pytest
from dp_accounting import get_epsilon_gaussian
from ledger_example import (
    EXACT,
    PLAN,
    PLD_OF_PLAN,
    POLICY,
    ROUND,
    SEEDED,
    TEST_DATA,
    fill,
    open_ledger,
    refusal,
)

from tacit.privacy.ledger_filter import renyi_budget
from tacit.privacy.ledger_summary import FORMAT, summarise


def test_runs_and_life_are_added_up(ledger):
    fill(ledger)
    summary = summarise(ledger)
    assert summary.rows_of_kind == {
        "opened/2": 1,
        "reserved/1": 2,
        "charged/1": 3,
        "settled/1": 1,
        "replied/1": 2,
        "closed/1": 1,
    }
    assert summary.receipt == ledger.receipt()
    a, b = summary.runs
    assert (a.run, a.state, a.rounds, a.planned_rounds, a.steps) == ("a", "open", 3, 10, 23)
    assert (b.run, b.state, b.rounds, b.planned_rounds, b.steps) == ("b", "closed", 0, 1, 0)
    assert (a.noise_multiplier, a.sampling_rate, a.clipping_norm) == (10.0, 1.0, 1.0)
    # 23 and 100 full-batch steps at σ = 10 are one Gaussian each.
    assert a.epsilon == pytest.approx(get_epsilon_gaussian(10 / math.sqrt(23), 1e-5), rel=1e-6)
    assert a.planned_epsilon == pytest.approx(PLD_OF_PLAN, abs=1e-4)
    assert (b.epsilon, b.delta) == (0.0, 1e-5)
    for stamp in (a.first, a.last, b.first, b.last):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", stamp)


def test_what_is_left_is_what_the_filter_leaves(ledger):
    ledger.reserve(replace(PLAN, rounds=4), POLICY)
    summary = summarise(ledger)
    assert summary.lifetime_epsilon == 10.0
    # Order 3: 10 + log(3/2) + (log 1e-5 + log 3)/2, of which 4 · 10 · 3/200 are reserved.
    assert summary.budget == pytest.approx(5.198309, abs=1e-6)
    assert summary.standing.committed == pytest.approx(0.6)
    last = get_epsilon_gaussian(math.sqrt(3 / (2 * 4.598309)), 1e-5)
    assert summary.room == pytest.approx(last, rel=1e-5)
    # The policy of today counts, where it is known.
    assert summarise(ledger, 6.0).budget == pytest.approx(renyi_budget(6.0, 1e-5, 3))
    assert summarise(ledger, 1.0).room == 0


def test_a_run_of_just_what_is_left_is_admitted_and_a_little_more_is_not(ledger):
    ledger.reserve(replace(PLAN, rounds=4), POLICY)
    room = summarise(ledger).room
    sigma = math.sqrt(3 / (2 * 4.598309))
    for factor, admitted in ((0.999, False), (1.001, True)):
        event = replace(ROUND, noise_multiplier=sigma * factor, steps=1)
        plan = replace(PLAN, run="b", event=event, rounds=1, epsilon=room * 1.01)
        wide = replace(POLICY, epsilon_per_run=100.0)
        if admitted:
            ledger.reserve(plan, wide)
        else:
            assert refusal(ledger.reserve, plan, wide) == "budget"
    assert summarise(ledger).room < room / 10


def test_nothing_is_left_beside_a_run_that_only_pld_allowed(ledger):
    limit = replace(POLICY, lifetime_epsilon=PLD_OF_PLAN + 0.01)
    ledger.reserve(PLAN, limit)
    ledger.charge("a", "r1", ROUND, limit)
    ledger.close_run("a")
    summary = summarise(ledger)
    assert summary.standing.spent < summary.budget < summary.standing.committed
    assert summary.room == 0


def test_an_empty_ledger_has_all_of_its_limit(ledger):
    summary = summarise(ledger, 8.0)
    assert (summary.runs, summary.budget, summary.room) == ([], None, None)
    assert summary.lifetime_epsilon == 8.0
    assert summarise(ledger).lifetime_epsilon is None


def test_what_is_infinite_is_null_in_json(ledger, tmp_path):
    ledger.reserve(SEEDED, TEST_DATA)
    ledger.charge("a", "r1", ROUND, TEST_DATA)
    with open_ledger(tmp_path / "exact.sqlite") as exact:
        exact.reserve(EXACT, TEST_DATA)
        exact.charge("x", "r1", EXACT.event, TEST_DATA)
        for each, run in ((ledger, "a"), (exact, "x")):
            summary = summarise(each)
            assert summary.runs[0].epsilon == math.inf
            values = json.loads(json.dumps(summary.to_json_values(), allow_nan=False))
            assert values["format"] == FORMAT
            assert values["runs"][0]["run"] == run
            assert values["runs"][0]["epsilon"] is None
            assert values["standing"]["pld"] is None
            assert values["runs"][0]["delta"] == summary.runs[0].delta
