"""One ledger on disk, and the plans and policies that it is asked with."""

import json
import math
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from tacit.errors import RefusedError
from tacit.privacy.events import ExactRelease, GaussianSteps, Relation, Unit
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Plan, Policy

ROUND = GaussianSteps(noise_multiplier=10.0, sampling_rate=1.0, steps=10, clipping_norm=1.0)
PLAN = Plan(run="a", event=ROUND, rounds=10, epsilon=4.4, delta=1e-5)
SEEDED = replace(PLAN, predictable=True)
EXACT = Plan(run="x", event=ExactRelease("sum"), rounds=2, epsilon=math.inf, delta=0.0)
POLICY = Policy(epsilon_per_run=5.0, lifetime_epsilon=10.0, delta_per_run=1e-5)
TEST_DATA = replace(POLICY, test_data=True, require_privacy=False)

# 100 full-batch steps at σ = 10, δ = 1e-5, by the closed form of Balle and Wang 2018, theorem 8.
PLD_OF_PLAN = 4.37718
# They amount to one Gaussian with σ = 1, whose Rényi divergence of order α is α/2 (Mironov 2017,
# proposition 7). At ε = 4.77 the filter's order is 5, of which it allows 2.517; at ε = 10 it is 3.
FILTER_OF_PLAN = 4.77


def open_ledger(path, **change):
    fixed = {
        "data_set": "ward 3",
        "unit": Unit.RECORD,
        "relation": Relation.ADD_OR_REMOVE_ONE,
        "delta": 1e-5,
    }
    return Ledger.open(path, **(fixed | change))


def head_of(path):
    return path.with_name(path.name + ".head")


def refusal(call, *arguments):
    with pytest.raises(RefusedError) as caught:
        call(*arguments)
    return caught.value.reason


def kinds(ledger):
    return [json.loads(row.body)["kind"].split("/")[0] for row in ledger.rows()]


def fill(ledger):
    """Write rows of every kind; the run stays open with a reply."""
    ledger.reserve(PLAN, POLICY)
    ledger.settle(ledger.charge("a", "r1", ROUND, POLICY), 3)
    ledger.store_reply(ledger.charge("a", "r1", ROUND, POLICY), [b"first"])
    ledger.reserve(replace(PLAN, run="b", rounds=1), POLICY)
    ledger.close_run("b")
    ledger.store_reply(ledger.charge("a", "r2", ROUND, POLICY), [b"second"])


def raw(path):
    """Open the file as somebody who wants to change it."""
    database = sqlite3.connect(path, isolation_level=None)
    for trigger in ("rows_never_change", "rows_never_go", "rows_only_follow"):
        database.execute(f"DROP TRIGGER {trigger}")
    return closing(database)
