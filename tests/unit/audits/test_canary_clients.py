"""Canary clients: through the run's own clipping and noise, and told where either is missing."""

from dataclasses import replace

import numpy as np
import pytest
from claimed_runs import claimed

import audits.canary_clients as canary_clients
import client.task as task
import tacit.learning.parts as parts
from audits.canary_clients import CanaryClients

SMALL = (
    "domain=digits",
    "domain.partition.sites=40",
    "domain.partition.rows=20",
    "privacy=client_level",
    "privacy.epsilon=2",
    "privacy.delta=1e-3",
    "training.cohort=10",
    "training.rounds=8",
)
SHARES = ("privacy.noise=clients", "secure_aggregation=required")
FOLLOWED = ("privacy.clipping_quantile=0.5",)
WORLDS = {"coordinator": (), "followed": FOLLOWED, "shares": SHARES}


@pytest.fixture(scope="module", params=WORLDS.values(), ids=WORLDS)
def world(request):
    return claimed(*SMALL, *request.param)


@pytest.fixture(scope="module")
def coordinated():
    return claimed(*SMALL)


def hear(run, trials=100):
    """Give canaries and what is heard of them; seconds would not be the same everywhere."""
    guarantee, bench = run
    canaries = CanaryClients(guarantee, bench, np.random.default_rng(0))
    return canaries, canaries.heard(trials)


def test_honest_noise_is_not_contradicted_and_estimated_about_right(world):
    canaries, heard = hear(world)
    claim, estimate = canaries.claim(heard), canaries.estimate(heard)
    assert not claim.contradicted
    assert claim.figures["rounds"] == 2
    assert 0 < claim.figures["epsilon_proved"] < claim.figures["epsilon_claimed"] < 2.01
    assert "tpr" in claim.series
    # The distance of two means of 450 is 0.07 off or so, and ε three times as much.
    assert estimate.figures["epsilon_estimated"] == pytest.approx(2, abs=4 * 0.21)
    assert "not a bound" in estimate.said
    assert not estimate.contradicted


def test_planted_noise_at_a_tenth_is_contradicted(world, monkeypatch):
    mean, skellam = canary_clients.noised_mean, parts.skellam
    of = canary_clients.SumStep.of

    def fainter(answers, start, how, noise):
        how = replace(how, noise_multiplier=how.noise_multiplier / 10)
        return mean(answers, start, how, noise)

    def faint_step(*given):
        step = of(*given)
        return step and replace(step, deviation=step.deviation / 10)

    monkeypatch.setattr(canary_clients, "noised_mean", fainter)
    monkeypatch.setattr(canary_clients.SumStep, "of", faint_step)
    monkeypatch.setattr(parts, "skellam", lambda noise, v, n: skellam(noise, v / 100, n))
    canaries, heard = hear(world, 80)
    claim = canaries.claim(heard)
    assert claim.contradicted
    assert claim.figures["epsilon_proved"] > claim.figures["epsilon_claimed"]


def test_planted_updates_that_nobody_clips_are_contradicted(coordinated, monkeypatch):
    import server.central as central

    def whole(weights, start, norm):
        return {name: array - start[name].astype(np.float64) for name, array in weights.items()}

    monkeypatch.setattr(task, "clipped_update", whole)
    monkeypatch.setattr(central, "clipped_update", whole)
    canaries, heard = hear(coordinated)
    assert canaries.claim(heard).contradicted


def test_what_is_in_is_heard_as_one_and_what_is_out_as_nothing(coordinated, monkeypatch):
    mean = canary_clients.noised_mean
    monkeypatch.setattr(
        canary_clients,
        "noised_mean",
        lambda answers, start, how, noise: mean(
            answers, start, replace(how, noise_multiplier=1e-9), noise
        ),
    )
    _, heard = hear(coordinated, 3)
    assert len(heard.scores) == 30
    np.testing.assert_allclose(heard.scores, heard.inside, atol=1e-4)


def test_no_noise_is_used_twice(coordinated):
    canaries, first = hear(coordinated, 1)
    second = canaries.heard(1)
    assert not np.allclose(first.scores - first.inside, second.scores - second.inside)


def test_as_many_sums_are_made_as_seconds_allow(coordinated, monkeypatch):
    guarantee, bench = coordinated
    monkeypatch.setattr(canary_clients, "MOST", 40)
    claim, estimate = CanaryClients(guarantee, bench).findings()
    assert claim.figures["canaries"] == 40
    assert "estimate" in estimate.test
    (found,) = CanaryClients(guarantee, bench, seconds=1e-9).findings()
    assert not found.tested
    assert "10 canaries are all" in found.said


def test_nobody_who_was_charged_is_nothing_to_test(coordinated):
    guarantee, bench = coordinated
    (found,) = CanaryClients(replace(guarantee, sites={}), bench).findings()
    assert not found.tested


def test_an_estimate_that_fits_nothing_says_so(coordinated):
    canaries, _ = hear(coordinated, 1)
    inside = np.arange(40) % 2 == 0
    found = canaries.estimate(canary_clients.Heard(inside * 1.0, inside))
    assert not found.figures
    assert "no noise" in found.said
