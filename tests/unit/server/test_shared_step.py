"""Shares of noise for every site, and the step that is made of a sum."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from server.planning import plan_run
from server.shared import SharedStep
from tacit.errors import ConfigurationError
from tacit.learning.plan import LocalOptimizer, RoundPlan, Share
from tacit.messages import SUM, RunRequest, Terms
from tacit.privacy.accounting import epsilon
from tacit.privacy.policy import with_steps
from tacit.settings import Component, SharedNoisePrivacy, Training

SIZES = {"cleveland": 200, "hungarian": 170, "switzerland": 30, "va": 85}
TRAINING = Training(20, 1, "full", 2.0)
PRIVACY = SharedNoisePrivacy("shared_noise", 1.0, 1e-4, 0.5)
FEDAVG = Component("fedavg", "strategies.mean.FedAvg")


def planned(tmp_path, training=TRAINING, privacy=PRIVACY, sizes=SIZES):
    return plan_run("run", "d", "f" * 64, sizes, training, privacy, FEDAVG, tmp_path, 14)


@pytest.mark.parametrize("fewest", ["all", 3])
def test_every_site_keeps_within_the_budget_and_none_wastes_it(tmp_path, fewest):
    plan = planned(tmp_path, replace(TRAINING, min_replies=fewest))
    spent = []
    for each in plan.sites.values():
        assert each.share.honest == (4 if fewest == "all" else 3) - 1
        (event,) = with_steps(each.event(), 20)
        spent.append(epsilon([event], 1e-4))
        (alone,) = with_steps(each.event_alone(), 20)
        assert epsilon([alone], 1e-4) > spent[-1]
        assert alone.variance * each.share.honest == pytest.approx(event.variance)
    assert 0.98 < max(spent) <= 1.0


def test_with_small_batches_each_site_has_its_own_epsilon(tmp_path):
    """Sensitivity is weight × C ÷ divisor: it differs where batches are no share of the data."""
    plan = planned(tmp_path, replace(TRAINING, batch_size=30))
    spent = {site: epsilon(with_steps(each.event(), 20), 1e-4) for site, each in plan.sites.items()}
    assert max(spent.values()) <= 1.0
    assert len({round(each, 3) for each in spent.values()}) > 1


@pytest.mark.parametrize(
    ("training", "privacy", "said"),
    [
        (replace(TRAINING, local_steps=2), PRIVACY, "training.local_steps=2: with"),
        (replace(TRAINING, optimizer=LocalOptimizer.ADAM), PRIVACY, "training.optimizer=adam"),
        (replace(TRAINING, cohort=2), PRIVACY, "training.cohort=2"),
        (TRAINING, replace(PRIVACY, colluders=4), "must leave a share to count on"),
        (replace(TRAINING, min_replies=1), PRIVACY, "must leave a share to count on"),
        (TRAINING, replace(PRIVACY, bits=16), "take 32 bits"),
    ],
    ids=str,
)
def test_what_cannot_be_shared_is_refused(tmp_path, training, privacy, said):
    with pytest.raises(ConfigurationError, match=said):
        planned(tmp_path, training, privacy)


def test_a_share_travels_with_its_plan(tmp_path):
    plan = planned(tmp_path).sites["va"]
    request = RunRequest("run", 20, Terms("d", "f" * 64, "fedavg"), plan, 1.0, 1e-4)
    assert RunRequest.from_config(request.to_config()) == request
    missing = request.to_config()
    del missing["plan-share-honest"]
    with pytest.raises(ConfigurationError, match="cannot be read"):
        RunRequest.from_config(missing)


@pytest.mark.parametrize("wrong", [{"steps": 2}, {"proximal_mu": 0.1}, {"noise_multiplier": 1.0}])
def test_a_plan_with_a_share_is_one_plain_step(wrong):
    share = Share(32, 2.0**-20, 14, 4, 2**20, 2.0**10, 2, 0.25)
    plan = RoundPlan(1, 1.0, 10.0, 0.5, clipping_norm=1.0, share=share)
    with pytest.raises(ConfigurationError):
        replace(plan, **wrong)


def test_a_step_goes_against_the_weighted_mean_of_those_who_sent():
    shares = {
        site: Share(32, 2.0**-16, 3, 3, 2**20, 2.0**10, 2, weight)
        for site, weight in (("a", 0.5), ("b", 0.25), ("c", 0.25))
    }
    plans = {
        site: RoundPlan(1, 1.0, 10.0, 0.5, clipping_norm=1.0, share=share)
        for site, share in shares.items()
    }
    step = SharedStep.of(plans)
    start = {"w": np.array([[1.0, 2.0]], np.float32), "b": np.array([3.0], np.float32)}
    grid = shares["a"].grid()
    gradients = {"a": [0.5, -0.25, 0.125], "b": [0.25, 0.0, -1.0]}

    def sent(site):
        integers = torch.tensor(gradients[site], dtype=torch.float64) * 2.0**16
        return {SUM: grid.residues(integers.long())}

    found = step.weights({site: sent(site) for site in gradients}, start)
    mean = np.add(gradients["a"], gradients["b"]) / 0.75
    assert found["w"] == pytest.approx(np.array([[1.0, 2.0]]) - 0.5 * mean[:2])
    assert found["b"] == pytest.approx(3.0 - 0.5 * mean[2])
    assert SharedStep.of({"a": RoundPlan(1, 1.0, 10.0, 0.5)}) is None
