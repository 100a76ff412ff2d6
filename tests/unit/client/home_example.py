"""A ledger of a named data set, and what it is asked."""

from client import ledger_home
from tacit.privacy.events import GaussianSteps, Relation, Unit
from tacit.privacy.policy import Plan, Policy

NAME = "Ward 3 — Herz"
ROUND = GaussianSteps(noise_multiplier=10.0, sampling_rate=1.0, steps=10, clipping_norm=1.0)
PLAN = Plan(run="a", event=ROUND, rounds=10, epsilon=4.4, delta=1e-5)
POLICY = Policy(epsilon_per_run=5.0, lifetime_epsilon=5.0, delta_per_run=1e-5)


def open_ledger(folder, heads, name=NAME, **change):
    fixed = {"unit": Unit.RECORD, "relation": Relation.ADD_OR_REMOVE_ONE, "delta": 1e-5}
    return ledger_home.open_ledger(folder, name, heads=heads, **(fixed | change))
