"""A run is planned once, and so that it meets every site's limits."""

import math
from dataclasses import replace

import pytest

from server.planning import plan_run, unable
from tacit.messages import Limits
from tacit.privacy.calibration import noise_multiplier
from tacit.privacy.policy import Reason
from tacit.settings import Component, NoPrivacy, RecordPrivacy, Training

SIZES = {"east": 200, "west": 100}
TRAINING = Training(rounds=4, local_steps=2, batch_size=50, learning_rate=0.5)
PRIVACY = RecordPrivacy("record", epsilon=2.0, delta=1e-5, clipping_norm=1.5)
FEDAVG = Component("fedavg", "flwr.serverapp.strategy.FedAvg")
WIDE = Limits(8.0, 1e-4, 0.0, 0, False)


def planned(cache, limits=None, privacy=PRIVACY):
    return plan_run(
        "run-1", "wards", "f" * 64, SIZES, TRAINING, privacy, FEDAVG, cache, 10, limits=limits
    )


def test_without_limits_every_site_has_the_runs_epsilon(cache):
    plan = planned(cache)
    assert dict(plan.epsilons) == {"east": 2.0, "west": 2.0}
    for site, rate in (("east", 0.25), ("west", 0.5)):
        each = plan.sites[site]
        assert (each.sampling_rate, each.divisor, each.steps) == (rate, 50.0, 2)
        assert each.noise_multiplier == noise_multiplier(2.0, 1e-5, rate, 8)
    assert (plan.terms.domain, plan.terms.strategy, plan.terms.others) == ("wards", "fedavg", 0)


def test_sites_that_do_the_same_are_planned_once(cache, monkeypatch):
    asked = []

    def counted(*question, cache):
        asked.append(question)
        return 1.0

    monkeypatch.setattr("tacit.plans.noise_multiplier", counted)
    sizes = {f"user-{n}": 50 if n % 2 else 80 for n in range(1000)}
    plan = plan_run("run", "d", "f" * 64, sizes, TRAINING, PRIVACY, FEDAVG, cache, 10)
    assert len(asked) == 2
    assert plan.sites["user-1"] is plan.sites["user-999"]
    assert plan.sites["user-0"].sampling_rate == 50 / 80
    limits = {"user-3": replace(WIDE, least_noise_multiplier=9.0)}
    own = plan_run("run", "d", "f" * 64, sizes, TRAINING, PRIVACY, FEDAVG, cache, 10, limits)
    assert own.sites["user-3"].noise_multiplier == 9.0
    assert own.sites["user-1"].noise_multiplier == 1.0


def test_a_site_that_spends_less_gets_more_noise_and_the_others_keep_theirs(cache):
    free, plan = planned(cache), planned(cache, {"east": replace(WIDE, epsilon=0.5), "west": WIDE})
    assert dict(plan.epsilons) == {"east": 0.5, "west": 2.0}
    assert plan.sites["east"].noise_multiplier == noise_multiplier(0.5, 1e-5, 0.25, 8)
    assert plan.sites["west"] == free.sites["west"]


def test_no_site_gets_less_noise_than_it_takes(cache):
    plan = planned(cache, {"east": replace(WIDE, least_noise_multiplier=9.0), "west": WIDE})
    assert plan.sites["east"].noise_multiplier == 9.0
    assert plan.sites["west"].noise_multiplier < 9.0


def test_without_privacy_limits_plan_nothing(cache):
    plan = planned(cache, {"east": replace(WIDE, epsilon=0.5)}, NoPrivacy("none"))
    assert dict(plan.epsilons) == {"east": math.inf, "west": math.inf}
    assert plan.sites["east"].noise_multiplier is None


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (WIDE, None),
        (replace(WIDE, most_rounds=4), None),
        (replace(WIDE, most_rounds=3), Reason.TOO_MANY_ROUNDS),
        (replace(WIDE, delta=1e-6), Reason.BUDGET),
    ],
)
def test_what_no_noise_can_mend_is_said(limits, reason):
    assert unable(TRAINING, PRIVACY, limits) == reason
