"""ε along the way: what is told after a round is what the table of the whole plan says."""

import pytest
from rounds_example import SIZES, run_plan

from server import history
from server.history import epsilon_after, epsilon_tables

DELTA = 1e-5


@pytest.mark.parametrize("rounds", [1, 2, 3, 9])
def test_after_a_round_it_is_the_tables(rounds):
    plan = run_plan()
    steps = 2 * min(rounds, plan.rounds)
    tables = epsilon_tables(plan, DELTA)
    assert epsilon_after(plan, rounds, DELTA) == {site: tables[site][steps] for site in SIZES}


def test_after_a_round_of_a_long_run_one_number_is_computed(monkeypatch):
    asked = []
    monkeypatch.setattr(history, "epsilon", lambda events, delta: asked.append(events) or 0.5)
    assert epsilon_after(run_plan(rounds=300), 200, DELTA) == dict.fromkeys(SIZES, 0.5)
    assert [event.steps for (event,) in asked] == [400]
