"""Admission: a request that differs from the reserved plan is refused and costs nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from site_example import (
    MODEL,
    ROUND,
    WatchedRows,
    app_of,
    ask,
    kinds,
    make_site,
    steps_spent,
    zero_weights,
)

from client.site import admit
from tacit.errors import RefusedError
from tacit.privacy.policy import Reason


def bad_array():
    return {"head.weight": zero_weights()["head.weight"], "head.bias": np.zeros(3, np.float32)}


def not_finite():
    return zero_weights() | {"head.bias": np.array([0, np.nan], np.float32)}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"plan": replace(ROUND, noise_multiplier=19.9)}, Reason.PLAN_DIFFERS),
        ({"plan": replace(ROUND, noise_multiplier=30.0)}, Reason.PLAN_DIFFERS),
        ({"plan": replace(ROUND, steps=4)}, Reason.PLAN_DIFFERS),
        ({"plan": replace(ROUND, clipping_norm=2.0)}, Reason.PLAN_DIFFERS),
        ({"plan": replace(ROUND, sampling_rate=0.6)}, Reason.PLAN_DIFFERS),
        (
            {"plan": replace(ROUND, clipping_norm=None, noise_multiplier=None)},
            Reason.PLAN_DIFFERS,
        ),
        ({"plan-unit": "person"}, Reason.PLAN_DIFFERS),
        ({"plan-noise-multiplier": None}, Reason.PLAN_DIFFERS),
        ({"plan-noise-multiplier": math.nan}, Reason.PLAN_DIFFERS),
        ({"plan-steps": 0}, Reason.PLAN_DIFFERS),
        ({"plan-steps": 1.5}, Reason.PLAN_DIFFERS),
        ({"plan-momentum": 0.9}, Reason.PLAN_DIFFERS),
        ({"evaluate": 1}, Reason.PLAN_DIFFERS),
        ({"run": "another"}, Reason.NOT_RESERVED),
        ({"model": "0" * 64}, Reason.MODEL_DIFFERS),
        ({"weights": bad_array()}, Reason.MODEL_DIFFERS),
        ({"weights": not_finite()}, Reason.MODEL_DIFFERS),
        ({"weights": {"body": np.zeros(1, np.float32)}}, Reason.MODEL_DIFFERS),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_request_that_differs_is_refused_and_costs_nothing(tmp_path, ledger, asked, reason):
    rows = WatchedRows(tmp_path / "north.sqlite")
    reply = app_of(make_site(ledger, data=rows))(ask(**asked))
    assert reply.error.reason == reason
    assert kinds(ledger) == ["opened", "reserved"]
    assert rows.seen == []


def test_fewer_steps_cost_less(ledger):
    assert app_of(make_site(ledger))(ask(plan=replace(ROUND, steps=1))).has_content()
    assert steps_spent(ledger) == 1


def test_no_round_more_than_reserved(ledger):
    app = app_of(make_site(ledger))
    # A coordinator that asks for one round more, and says that there are as many.
    replies = [app(ask(round=number, rounds=4)) for number in range(1, 5)]
    assert [reply.has_content() for reply in replies] == [True, True, True, False]
    assert replies[3].error.reason == Reason.TOO_MANY_ROUNDS
    assert steps_spent(ledger) == 3 * ROUND.steps


def test_refusals_of_admit_keep_the_model(ledger):
    site = make_site(ledger)
    before = {name: p.detach().clone() for name, p in site.model.named_parameters()}
    with pytest.raises(RefusedError):
        admit(site, ask(model=MODEL[:-1] + "0"))
    assert all(torch.equal(before[n], p) for n, p in site.model.named_parameters())
