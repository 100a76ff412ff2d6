"""Input canaries: told from a model that remembers them, and not from one that hides them."""

from dataclasses import replace

import numpy as np
import pytest
from claimed_runs import claimed

import tacit.learning.stacked.cohort as cohort
from audits.bench import Bench
from audits.membership import FEWEST, MOST, Afforded, Membership

SMALL = (
    "domain=digits",
    "domain.partition.sites=4",
    "domain.partition.rows=20",
    "training.rounds=10",
)
FEW = Afforded(2, 8, 25)
TEST = "claim, by input canaries"


@pytest.fixture(scope="module")
def small():
    return claimed(*SMALL, "privacy.epsilon=0.5")


def claim(run, seed=0):
    guarantee, bench = run
    return Membership(guarantee, bench, np.random.default_rng(seed)).claim(FEW)


def test_planted_a_run_without_noise_is_contradicted(small, monkeypatch):
    monkeypatch.setattr(cohort, "_add_noise", lambda *anything: None)
    found = claim(small)
    assert found.contradicted
    assert found.figures["epsilon_proved"] > 2 > found.figures["epsilon_claimed"]
    assert found.figures["auc"] > 0.95


def test_an_honest_run_is_not(small):
    found = claim(small)
    assert not found.contradicted
    assert found.test == TEST
    assert found.figures["canaries"] == 200
    assert found.figures["trainings"] == 8


def test_planted_noise_that_the_attack_knows_is_found(small, monkeypatch):
    """Every training with the run's own noise, reference models too: nothing hides a canary."""
    trained = Bench.trained
    monkeypatch.setattr(Bench, "trained", lambda self, added, seed=None: trained(self, added))
    assert claim(small).contradicted


@pytest.mark.parametrize("more", [("engine=loop",), ("privacy.noise_seed=system",)])
def test_other_ways_to_train_hold_canaries_too(more):
    guarantee, bench = claimed(*SMALL, "training.rounds=2", "privacy.epsilon=8", *more)
    membership = Membership(guarantee, bench, np.random.default_rng(0))
    scores, inside = membership.scored(Afforded(2, 1, 20), ["user-000000", "user-000002"])
    assert np.isfinite(scores).all()
    assert len(scores) == len(inside) == 20


@pytest.mark.parametrize(
    ("each", "weights", "expected"),
    [
        (0.05, 18, (8, 100, 10)),
        (0.05, 10_000, (8, 100, 22)),
        (0.5, 10_000, (2, 18, 122)),
        (0.5, 18, (2, 18, 11)),
        (100.0, 10_000, (2, 1, 2200)),
        (100.0, 18, (2, 1, 200)),
    ],
)
def test_how_much_is_trained_follows_from_what_a_training_takes(each, weights, expected):
    afforded = Afforded.by(each, 10.0, weights)
    assert (afforded.references, afforded.trainings, afforded.canaries) == expected
    assert FEWEST - afforded.trainings < afforded.canaries * afforded.trainings <= MOST


def test_rows_are_added_to_no_size_and_no_plan(small):
    _, bench = small
    added = {"user-000001": bench.rows(30, 1)}
    alone, longer = bench.trained({}), bench.trained(added)
    again = bench.trained(added)
    other = bench.trained(added, noise_seed=5)
    for name in alone:
        assert not np.array_equal(alone[name], longer[name])
        assert np.array_equal(longer[name], again[name])
        assert not np.array_equal(longer[name], other[name])


def test_natural_members_are_shown_and_prove_nothing(small):
    guarantee, bench = small
    found = Membership(guarantee, bench).natural(bench.start)
    # A model of zeros holds all classes alike.
    assert found.figures["auc"] == pytest.approx(0.5)
    assert "80 rows" in found.said
    assert not found.contradicted
    assert not found.series


def test_nobody_who_was_charged_is_nothing_to_test(small):
    guarantee, bench = small
    (found,) = Membership(replace(guarantee, sites={}), bench).findings()
    assert not found.tested
