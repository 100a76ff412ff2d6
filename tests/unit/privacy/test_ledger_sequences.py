"""Whatever is asked in whatever order, no more is spent than was reserved."""

import json
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_example import ROUND, TEST_DATA, open_ledger

from tacit.errors import TacitError
from tacit.privacy.policy import Plan

PLANS = {
    "a": Plan("a", replace(ROUND, steps=3), 3, 4.0, 1e-5),
    "b": Plan("b", replace(ROUND, steps=2), 2, 4.0, 1e-5),
}
SEEDED_PLANS = {name: replace(plan, predictable=True) for name, plan in PLANS.items()}

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.sampled_from("ab")),
        st.tuples(
            st.just("charge"),
            st.sampled_from("aab"),
            st.sampled_from(["p", "q", "r", "s", "t"]),
            st.integers(1, 3),
        ),
        st.tuples(st.just("settle"), st.integers(0, 5), st.integers(0, 3)),
        st.tuples(st.just("reply"), st.integers(0, 5)),
        st.tuples(st.just("close"), st.sampled_from("aaab")),
        st.tuples(st.just("reopen")),
    ),
    max_size=25,
)


def net_steps(rows, predictable):
    """Add up, from the rows alone, the net steps of each run and of each of its rounds."""
    charges, net, replied = {}, {}, set()
    for row in rows:
        fields = json.loads(row.body)
        match fields["kind"]:
            case "charged/1":
                charges[row.number] = (fields["run"], fields["request"])
                net[row.number] = json.loads(fields["event"])["steps"]
            case "settled/1":
                assert fields["charge"] not in replied
                assert fields["steps_begun"] < net[fields["charge"]]
                net[fields["charge"]] = fields["steps_begun"]
            case "replied/1":
                assert net[fields["charge"]] > 0
                replied.add(fields["charge"])
    releases = {}
    for number, (run, request) in charges.items():
        key = (run, request) if predictable else (run, number)
        releases[key] = max(releases.get(key, 0), net[number])
    return {
        run: [steps for (of, _), steps in releases.items() if of == run and steps] for run in PLANS
    }


@pytest.mark.parametrize("plans", [PLANS, SEEDED_PLANS], ids=["private", "predictable"])
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(operations=OPERATIONS)
def test_no_sequence_spends_more_than_was_reserved(plans, operations):
    predictable = plans is SEEDED_PLANS
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ward.sqlite"
        ledger = open_ledger(path)
        charges = []
        for name, *arguments in [("reserve", "a"), *operations]:
            with suppress(TacitError, IndexError):
                match name:
                    case "reserve":
                        ledger.reserve(plans[arguments[0]], TEST_DATA)
                    case "charge":
                        run, request, steps = arguments
                        event = replace(ROUND, steps=steps)
                        charges.append(ledger.charge(run, request, event, TEST_DATA))
                    case "settle":
                        ledger.settle(charges[-1 - arguments[0]], arguments[1])
                    case "reply":
                        charge = charges[-1 - arguments[0]]
                        ledger.store_reply(charge, [b"%d" % charge.number])
                        assert ledger.stored_reply(charge.run, charge.request) is not None
                    case "close":
                        ledger.close_run(arguments[0])
                    case "reopen":
                        ledger.close()
                        ledger = open_ledger(path)
        with ledger:
            ledger.verify()
            for run, steps in net_steps(ledger.rows(), predictable).items():
                plan = plans[run]
                assert len(steps) <= plan.rounds
                assert sum(steps) <= plan.rounds * plan.event.steps
                spent = [replace(ROUND, steps=sum(steps))] if steps else []
                assert ledger.spent_events(run) == spent
