"""Sums of whole clients' updates: who adds how much noise, and what the sum is divided by."""

import math
from dataclasses import replace

import numpy as np
import pytest

from server.planning import plan_run
from server.sums import SumStep
from tacit.errors import ConfigurationError
from tacit.learning.parts import update_part
from tacit.privacy.accounting import Accountant, epsilon
from tacit.privacy.policy import in_rounds
from tacit.privacy.randomness import Stream
from tacit.privacy_settings import ClientPrivacy, NoiseBy
from tacit.settings import Component, Training

CLIENTS, COHORT, ROUNDS, SIZE = 12, 6, 8, 40_000
SITES = {f"client{number:02d}": 10 for number in range(CLIENTS)}
CENTRAL = ClientPrivacy("client_level", 4.0, 1e-3, 0.5)
SHARES = replace(CENTRAL, noise=NoiseBy.CLIENTS)
TRAINING = Training(ROUNDS, 1, "full", 1.0, cohort=COHORT, min_replies=5)
FEDAVG = Component("fedavg", "strategies.mean.FedAvg")
START = {"w": np.zeros(SIZE, np.float32)}


def planned(tmp_path, privacy, training=TRAINING, *, secure=True, dimension=SIZE):
    return plan_run(
        "run", "d", "f" * 64, SITES, training, privacy, FEDAVG, tmp_path, dimension, secure=secure
    )


def step_of(plan):
    return SumStep.of(plan.sites, plan.central, plan.cohort)


def mean_of(plan, replied, update=0.0):
    """Mean after a round in which some clients reply, each with the same update, in units of C."""
    step, sent = step_of(plan), {}
    for site in list(SITES)[:replied]:
        each = plan.sites[site]
        streams = {w: Stream.seeded(1, site, 1, w) for w in ("rounding", "noise")}
        weights = {"w": np.full(SIZE, update, np.float32)}
        sent[site] = {"sum": update_part(weights, START, each, each.part, **streams)}
    noise = Stream.seeded(1, "//coordinator", 1, "noise")
    return step.mean(step.total(sent), list(sent), lambda: noise)


@pytest.mark.parametrize("privacy", [CENTRAL, SHARES], ids=["coordinator", "clients"])
@pytest.mark.parametrize("quantile", [None, 0.5])
def test_a_run_costs_what_it_may_and_hardly_less(tmp_path, privacy, quantile):
    privacy = replace(privacy, clipping_quantile=quantile)
    plan = planned(tmp_path, privacy)
    event = plan.sites["client00"].event()
    accountant = Accountant.RDP if privacy.in_shares else Accountant.PLD
    spent = epsilon(in_rounds(event, plan.rounds_of_a_site), 1e-3, accountant)
    assert 3.9 < spent <= 4.0
    assert (plan.central is None) == privacy.in_shares


@pytest.mark.parametrize("quantile", [None, 0.5])
def test_the_coordinators_noise_is_for_the_rounded_update_and_its_count(tmp_path, quantile):
    plan = planned(tmp_path, replace(CENTRAL, clipping_quantile=quantile))
    sigma = plan.central.noise_multiplier
    norm = math.hypot(1.0, plan.sites["client00"].count_weight / 2)
    noise = mean_of(plan, 0)
    # The deviation of n normals is off by 1 / √(2n): five of these.
    rough = 5 / math.sqrt(2 * SIZE)
    assert noise.std() == pytest.approx(sigma * norm / COHORT, rel=rough + 1e-4)


@pytest.mark.parametrize("replied", [5, 6])
def test_shares_of_those_who_reply_add_up(tmp_path, replied):
    plan = planned(tmp_path, SHARES)
    each = plan.sites["client00"]
    assert each.share.honest == 5 - 1
    noise = mean_of(plan, replied)
    deviation = math.sqrt(replied * each.share.variance) * each.part.spacing / COHORT
    # Rounding at random adds a quarter of a squared step at most, 2^-20 of this.
    assert noise.std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * SIZE) + 1e-3)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 5 / math.sqrt(SIZE)


def test_whoever_is_missing_counts_as_no_update(tmp_path):
    plan = planned(tmp_path, replace(CENTRAL, clipping_norm=1e6))
    quiet = replace(step_of(plan), deviation=0.0)
    assert quiet.clients == COHORT
    part = plan.sites["client00"].part
    total = quiet.like()["sum"] + np.uint32(3 * round(1 / part.spacing))
    assert quiet.mean(total, ["client00"], lambda: None) == pytest.approx(3 / COHORT)


def test_c_changes_nothing_that_is_reserved(tmp_path):
    plan = planned(tmp_path, replace(SHARES, clipping_quantile=0.5)).among(list(SITES)[:COHORT])
    later = plan.clipped_at(3.25)
    assert later.sites["client00"].clip == 0.5 * 3.25
    assert later.sites["client00"].event() == plan.sites["client00"].event()
    assert step_of(later).scale == 0.5 * 3.25
    assert later.joint().text() != plan.joint().text()


def test_few_bits_are_refused_where_they_cost_noise(tmp_path):
    with pytest.raises(ConfigurationError, match=r"privacy\.bits=32"):
        planned(tmp_path, replace(CENTRAL, bits=16), dimension=10**8)
    with pytest.raises(ConfigurationError, match="take 32 bits"):
        planned(tmp_path, replace(SHARES, bits=16, epsilon=100.0), dimension=10**8)
    assert planned(tmp_path, replace(CENTRAL, bits=16), dimension=10).sites["client00"].part
