"""Shares of noise for every site, and the step that is made of a sum."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from server.planning import plan_run
from server.sums import SumStep
from tacit.errors import ConfigurationError
from tacit.learning.plan import LocalOptimizer, Part, RoundPlan, Share
from tacit.messages import SUM, RunRequest, Terms
from tacit.privacy.accounting import epsilon
from tacit.privacy.policy import with_steps
from tacit.privacy_settings import SharedNoisePrivacy
from tacit.settings import Component, Training

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
        assert alone.variance == event.variance == each.share.variance
        assert event.counted_variance == each.share.honest * each.share.variance
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


PART = Part(32, 2.0**-16, 3, 3, 2**20, 0.25)
PLAIN = RoundPlan(1, 1.0, 10.0, 0.5)
SHARED = replace(PLAIN, clipping_norm=1.0, part=PART, share=Share(2.0**10, 2))
START = {"w": np.array([[1.0, 2.0]], np.float32), "b": np.array([3.0], np.float32)}
WEIGHTS = {"a": 0.5, "b": 0.25, "c": 0.25}


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 2},
        {"proximal_mu": 0.1},
        {"optimizer": LocalOptimizer.ADAM},
        {"noise_multiplier": 1.0},
        {"clipping_norm": None},
        {"part": None},
    ],
    ids=str,
)
def test_a_plan_with_a_share_is_one_plain_step_on_a_grid(wrong):
    with pytest.raises(ConfigurationError):
        replace(SHARED, **wrong)


def sites(plan):
    return {
        site: replace(plan, part=replace(plan.part, weight=weight))
        for site, weight in WEIGHTS.items()
    }


def sent(numbers, part=PART):
    return {
        SUM: part.grid().residues((torch.tensor(numbers, dtype=torch.float64) * 2.0**16).long())
    }


def mean_of(step, total, replied):
    def no_noise():
        raise AssertionError("no plan here has the coordinator add noise")

    return step.mean(total, replied, no_noise)


def test_a_step_goes_against_the_weighted_mean_of_the_gradients_that_came():
    step = SumStep.of(sites(SHARED), None, 3)
    gradients = {"a": [0.5, -0.25, 0.125], "b": [0.25, 0.0, -1.0]}
    total = step.total({site: sent(each) for site, each in gradients.items()})
    found = step.weights(mean_of(step, total, gradients), START)
    mean = np.add(gradients["a"], gradients["b"]) / 0.75
    assert found["w"] == pytest.approx(np.array([[1.0, 2.0]]) - 0.5 * mean[:2])
    assert found["b"] == pytest.approx(3.0 - 0.5 * mean[2])


def test_updates_that_are_private_already_are_added_as_their_weighted_mean():
    own_noise = replace(PLAIN, clipping_norm=1.0, noise_multiplier=3.0, part=PART)
    for plan in (own_noise, replace(PLAIN, part=PART)):
        step = SumStep.of(sites(plan), None, 3)
        total = step.total({"a": sent([0.5, -0.25, 0.125]), "c": sent([0.25, 0.0, -1.0])})
        found = step.weights(mean_of(step, total, ["a", "c"]), START)
        assert found["w"] == pytest.approx(np.array([[2.0, 2.0 - 0.25 / 0.75]]))
        assert found["b"] == pytest.approx(3.0 - 0.875 / 0.75)
        assert found["w"].dtype == np.float32


@pytest.mark.parametrize("bits", [16, 32])
def test_parts_are_added_as_signed_numbers_of_their_bits(bits):
    narrow = replace(PART, bits=bits, largest=2**12)
    step = SumStep.of(sites(replace(PLAIN, part=narrow)), None, 3)
    part = sent([-0.03125, 0.0625, 0.0], narrow)
    assert part[SUM].dtype == step.like()[SUM].dtype == np.dtype(f"u{bits // 8}")
    assert step.like()[SUM].shape == (3,)
    total = step.total(dict.fromkeys(WEIGHTS, part))
    assert total.dtype == part[SUM].dtype
    assert mean_of(step, total, WEIGHTS).tolist() == [-0.09375, 0.1875, 0.0]


def test_where_parts_are_on_no_grid_there_is_no_step():
    assert SumStep.of({"a": PLAIN}, None, 1) is None
