"""The round loop: weights by declared size, missing replies, a plan that stays what it was."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ConfigRecord
from rounds_example import (
    FEDADAM,
    FEDAVG,
    ROUND,
    SIZES,
    LossyGrid,
    Sites,
    boasting,
    refusing,
    run,
    run_plan,
    start_weights,
    update_of,
)

import server.rounds
from server.app import build_server_app
from server.run_plan import State
from simulations.flower import server_context
from simulations.grid import LocalGrid, loop_engine
from strategies.build import build_strategy
from strategies.records import to_record
from tacit.errors import RunDirectoryError, TooFewSitesError
from tacit.messages import ARRAYS, LEDGER, TrainRequest
from tacit.privacy.chain import NO_ROWS, Receipt


def same_bits(one, two):
    return one.keys() == two.keys() and all(
        one[name].dtype == two[name].dtype and one[name].tobytes() == two[name].tobytes()
        for name in one
    )


def mean(updates, sizes):
    """The weighted mean in float64."""
    total = sum(sizes.values())
    return {
        name: sum(np.float64(updates[site][name]) * sizes[site] for site in updates) / total
        for name in start_weights()
    }


@pytest.mark.parametrize("say", [None, boasting], ids=["honest", "boasting"])
def test_fedavg_is_the_mean_by_declared_size(say):
    last, _ = run(Sites(say))
    weights = start_weights()
    for number in range(1, 4):
        weights = mean({site: update_of(site, number, weights) for site in SIZES}, SIZES)
    for name, array in last.weights.items():
        assert array.dtype == np.float32
        # Three rounds of three fp32 products and sums on numbers below 16: 9 roundings of 2**-24.
        np.testing.assert_allclose(array, weights[name], rtol=9 * 2**-24, atol=0)


def test_a_size_that_a_site_claims_would_change_the_mean(monkeypatch):
    honest, _ = run(Sites())
    monkeypatch.setattr(server.rounds, "_weighed", lambda answers, *_: list(answers.values()))
    trusting, _ = run(Sites(boasting))
    assert not same_bits(honest.weights, trusting.weights)


def adam(rounds):
    """FedAdam (Reddi et al. 2021, algorithm 2) in float64.

    The rate is corrected for bias as in Kingma and Ba 2015, section 2, with t = round + 1: Flower
    1.41 counts so.
    """
    eta, beta_1, beta_2, tau = 0.1, 0.9, 0.99, 0.001
    weights = {name: np.float64(array) for name, array in start_weights().items()}
    m = {name: np.zeros_like(array) for name, array in weights.items()}
    v = {name: np.zeros_like(array) for name, array in weights.items()}
    for number in range(1, rounds + 1):
        averaged = mean({site: update_of(site, number, weights) for site in SIZES}, SIZES)
        rate = eta * np.sqrt(1 - beta_2 ** (number + 1)) / (1 - beta_1 ** (number + 1))
        for name in weights:
            delta = averaged[name] - weights[name]
            m[name] = beta_1 * m[name] + (1 - beta_1) * delta
            v[name] = beta_2 * v[name] + (1 - beta_2) * delta**2
            weights[name] = weights[name] + rate * m[name] / (np.sqrt(v[name]) + tau)
    return weights


def test_fedadam_is_adam_on_the_mean_update():
    last, _ = run(Sites(), FEDADAM, run_plan(rounds=5))
    expected = adam(5)
    for name, array in last.weights.items():
        # Deltas of about 1 come from differences of fp32 numbers below 8: 2**-21 each; the step
        # is at most 0.2 of m/√v, so five rounds stay below 5 * 0.2 * 2 * 2**-21.
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2 * 2**-21)


def test_a_strategys_memory_goes_on(tmp_path):
    whole, seen = run(Sites(), FEDADAM, run_plan(rounds=5))
    middle, _ = seen[2]
    assert sorted(middle.memory) == ["m_t/b", "m_t/w", "v_t/b", "v_t/w"]
    resumed, rest = run(Sites(), FEDADAM, run_plan(rounds=5), middle)
    assert [outcome.round for _, outcome in rest] == [4, 5]
    assert same_bits(resumed.weights, whole.weights)
    forgetful, _ = run(Sites(), FEDADAM, run_plan(rounds=5), replace(middle, memory={}))
    assert not same_bits(forgetful.weights, whole.weights)


def test_a_memory_of_another_strategy_is_refused():
    _, seen = run(Sites(), FEDADAM)
    with pytest.raises(RunDirectoryError, match="another strategy"):
        run(Sites(), FEDAVG, run_plan(rounds=5), seen[-1][0])


@pytest.mark.parametrize("how", ["refused", "lost"])
def test_a_missing_reply_is_a_failure_and_the_round_goes_on(how):
    sites = Sites(refusing("west") if how == "refused" else None)
    grid = LossyGrid(sites, lambda site: how == "lost" and site == "west")
    last, seen = run(sites, plan=run_plan(rounds=1, min_replies=2), grid=grid)
    ((_, outcome),) = seen
    assert outcome.replied == ("east", "north")
    assert outcome.failed == {"west": "budget" if how == "refused" else "no_reply"}
    present = {site: SIZES[site] for site in ("east", "north")}
    expected = mean({site: update_of(site, 1, start_weights()) for site in present}, present)
    for name, array in last.weights.items():
        np.testing.assert_allclose(array, expected[name], rtol=3 * 2**-24)
    assert set(last.receipts) == set(present)


def test_too_few_replies_stop_the_run_and_say_why():
    sites = Sites(refusing("west", "not_available", from_round=3))
    grid = LocalGrid(SIZES, loop_engine(sites))
    seen = []
    with pytest.raises(TooFewSitesError) as caught:
        server.rounds.run_rounds(
            grid,
            build_strategy(FEDAVG),
            run_plan(rounds=5),
            grid.names,
            State(0, start_weights()),
            lambda state, outcome: seen.append(state.round),
        )
    assert caught.value.reasons == {"west": "not_available"}
    assert "round 3: 2 of 3 sites replied, 3 are needed; missing: west (not_available)" in str(
        caught.value
    )
    assert seen == [1, 2]
    # Nobody was asked again.
    assert [config["server-round"] for _, config, _ in sites.requests].count(3) == 3


@pytest.mark.parametrize("least", [1, 2, 3])
def test_the_least_number_of_replies_is_honoured(least):
    sites = Sites(refusing("west"))
    if least <= 2:
        assert run(sites, plan=run_plan(min_replies=least))[0].round == 3
    else:
        with pytest.raises(TooFewSitesError):
            run(sites, plan=run_plan(min_replies=least))


def test_no_reply_at_all():
    grid = LossyGrid(Sites(), lambda site: True)
    with pytest.raises(TooFewSitesError) as caught:
        run(None, plan=run_plan(min_replies=1), grid=grid)
    assert caught.value.reasons == dict.fromkeys(SIZES, "no_reply")


def test_every_round_asks_the_same_plan_of_every_site():
    """σ, rate, steps and clip of a run are fixed before its first round."""
    sites = Sites()
    run(sites)
    assert [site for site, _, _ in sites.requests] == sorted(SIZES) * 3
    for place, (_, config, _) in enumerate(sites.requests):
        request = TrainRequest.from_config(config)
        assert request.plan == ROUND
        assert (request.round, request.rounds) == (place // 3 + 1, 3)
        assert (request.run, request.model) == ("run-1", "f" * 64)


def test_a_request_carries_nothing_else():
    sites = Sites()
    run(sites, plan=run_plan(rounds=1))
    for _, config, weights in sites.requests:
        assert TrainRequest.from_config(config).to_config() == config
        assert same_bits(weights, start_weights())


def test_every_site_is_shown_its_own_last_receipt():
    sites = Sites(refusing("west", from_round=2))
    run(sites, plan=run_plan(min_replies=2))
    shown = {
        (site, config["server-round"]): Receipt(config["receipt-count"], config["receipt-head"])
        for site, config, _ in sites.requests
    }
    for site in SIZES:
        assert shown[site, 1] == Receipt(0, NO_ROWS)
        assert shown[site, 2] == Receipt(2, f"{1:064x}")
    assert shown["east", 3] == Receipt(4, f"{2:064x}")
    # One that failed in round 2 is held to what it last gave.
    assert shown["west", 3] == shown["west", 2]


def test_a_receipt_is_each_sites_own():
    def say(site, number, reply):
        reply.content[LEDGER] = ConfigRecord({"count": SIZES[site], "head": f"{SIZES[site]:064x}"})
        return reply

    last, _ = run(Sites(say), plan=run_plan(rounds=1))
    assert last.receipts == {site: Receipt(n, f"{n:064x}") for site, n in SIZES.items()}


def test_the_server_app_runs_what_is_left():
    _, seen = run(Sites())
    grid = LocalGrid(SIZES, loop_engine(Sites()))
    states = []
    app = build_server_app(
        build_strategy(FEDAVG),
        run_plan(),
        grid.names,
        seen[0][0],
        lambda state, outcome: states.append(state),
    )
    app(grid, server_context())
    assert [state.round for state in states] == [2, 3]
    assert same_bits(states[-1].weights, seen[-1][0].weights)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.pop(LEDGER),
        lambda content: content.pop(ARRAYS),
        lambda content: content.update({LEDGER: ConfigRecord({"count": "many", "head": "x"})}),
        lambda content: content.update({ARRAYS: to_record({"w": np.zeros(3, np.float32)})}),
        lambda content: content.update(
            {ARRAYS: to_record({n: np.full_like(a, np.nan) for n, a in start_weights().items()})}
        ),
    ],
    ids=["no receipt", "no weights", "odd receipt", "other shapes", "not finite"],
)
def test_a_malformed_reply_is_that_sites_failure(spoil):
    def say(site, number, reply):
        if site == "west":
            spoil(reply.content)
        return reply

    _, [(_, outcome)] = run(Sites(say), plan=run_plan(rounds=1, min_replies=2))
    assert outcome.failed == {"west": "malformed"}
    assert outcome.replied == ("east", "north")


@pytest.mark.parametrize("written", ["row 17: age=212", "", "BUDGET"])
def test_what_a_site_writes_beside_the_closed_list_goes_no_further(written):
    with pytest.raises(TooFewSitesError) as caught:
        run(Sites(refusing("west", written)))
    assert caught.value.reasons == {"west": "malformed"}
    assert "age=212" not in str(caught.value)
