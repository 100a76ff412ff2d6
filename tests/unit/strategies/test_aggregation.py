"""Every strategy: against its formula in float64, bad sites, order, and chance."""

import random

import numpy as np
import pytest
from scipy.stats import trim_mean
from seven_sites import (
    OPTIONS,
    SIZES,
    combined,
    flat,
    offered,
    run,
    same_bits,
    start_weights,
    update_of,
)

import server.rounds
from strategies.records import to_record

ROUNDS = 5


def mean(weights, number):
    """The mean of the sites' models by declared size."""
    total = sum(SIZES.values())
    updates = {site: update_of(site, number, weights) for site in SIZES}
    return {
        name: sum(np.float64(updates[site][name]) * SIZES[site] for site in SIZES) / total
        for name in weights
    }


def momentum(weights, state, delta):
    """FedAvgM: v ← βv + Δ, w ← w + v (Hsu et al. 2019, section 4.3)."""
    state["v"] = 0.9 * state["v"] + delta
    return weights + state["v"]


def yogi(weights, state, delta):
    """FedYogi (Reddi et al. 2021, algorithm 2), its v starting at 0 as Flower's does."""
    state["m"] = 0.9 * state["m"] + 0.1 * delta
    state["v"] = state["v"] - 0.01 * delta**2 * np.sign(state["v"] - delta**2)
    return weights + 0.1 * state["m"] / (np.sqrt(state["v"]) + 0.001)


def adagrad(weights, state, delta):
    """FedAdagrad (Reddi et al. 2021, algorithm 2), without momentum, v starting at 0."""
    state["v"] = state["v"] + delta**2
    return weights + 0.1 * delta / (np.sqrt(state["v"]) + 0.001)


def plain(weights, state, delta):
    return weights + delta


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("fedavg", plain),
        ("fedprox", plain),
        ("fedavgm", momentum),
        ("fedyogi", yogi),
        ("fedadagrad", adagrad),
    ],
)
def test_a_server_optimiser_is_its_papers(name, rule):
    weights = {key: np.float64(array) for key, array in start_weights().items()}
    states = {key: {"m": 0.0, "v": 0.0} for key in weights}
    for number in range(1, ROUNDS + 1):
        averaged = mean(weights, number)
        weights = {
            key: rule(weights[key], states[key], averaged[key] - weights[key]) for key in weights
        }
    found = run(offered(name), ROUNDS)[-1].weights
    for key, array in found.items():
        # Rounding of fp32 numbers below 8, a few a round; √v magnifies that of Δ where it is small.
        np.testing.assert_allclose(array, weights[key], rtol=0, atol=ROUNDS * 8 * 2**-22)


def random_models(n, seed):
    generator = np.random.default_rng(seed)
    return [
        {
            key: np.asarray(generator.standard_normal(array.shape), np.float32)
            for key, array in start_weights().items()
        }
        for _ in range(n)
    ]


@pytest.mark.parametrize("n", [3, 4, 7, 10])
def test_the_median_is_the_middle_of_each_coordinate(n):
    replies = random_models(n, n)
    ranked = np.sort([flat(model) for model in replies], axis=0)
    expected = (ranked[(n - 1) // 2] + ranked[n // 2]) / 2
    np.testing.assert_allclose(
        flat(combined(offered("fedmedian"), replies)), expected, rtol=2**-23, atol=2**-24
    )


@pytest.mark.parametrize(("n", "beta"), [(4, 0.25), (7, 0.25), (10, 0.3), (11, 0.45)])
def test_the_trimmed_mean_is_scipys(n, beta):
    replies = random_models(n, n)
    expected = trim_mean([flat(model) for model in replies], beta)
    # A mean of at most 11 numbers below 4 in fp32.
    np.testing.assert_allclose(
        flat(combined(offered("fedtrimmedavg", beta=beta), replies)),
        expected,
        rtol=0,
        atol=11 * 4 * 2**-24,
    )


@pytest.mark.parametrize("name", ["fedmedian", "fedtrimmedavg"])
def test_a_size_gives_no_more_say(name):
    replies = random_models(5, 1)
    uneven = combined(offered(name), replies, [1, 900, 2, 1, 5])
    np.testing.assert_array_equal(flat(combined(offered(name), replies)), flat(uneven))


# Bad sites

ATTACKS = {
    "far away together": lambda honest, i: 1e6 * np.ones_like(honest),
    "far away apart": lambda honest, i: (-1) ** i * 1e6 * np.ones_like(honest),
    "turned round": lambda honest, i: -200 * honest,
    "as large as numbers go": lambda honest, i: (-1) ** i * 3e38 * np.ones_like(honest),
    "one coordinate": lambda honest, i: honest + 1e3 * (np.arange(honest.size) == 0),
}


def bent(name, bad, attack, **changed):
    """Result and honest models, bad ones among 11 replies at the first places."""
    honest = random_models(11 - bad, 5)
    centre = np.mean([flat(model) for model in honest], axis=0)
    replies = [unflat(attack(centre + 0.1, i)) for i in range(bad)] + honest
    found = flat(combined(offered(name, **changed), replies))
    return found, np.array([flat(model) for model in honest])


def unflat(vector):
    found, start = {}, 0
    for key, array in start_weights().items():
        part = vector[start : start + array.size].reshape(array.shape)
        found[key] = np.asarray(part, np.float32)
        start += array.size
    return found


BEARS = {
    "krum": (4, {"num_malicious_nodes": 4}),
    "multikrum": (4, {"num_malicious_nodes": 4, "num_nodes_to_select": 5}),
    "bulyan": (2, {"num_malicious_nodes": 2}),
    "fedmedian": (5, {}),
    "fedtrimmedavg": (4, {"beta": 0.4}),
}


@pytest.mark.parametrize("attack", list(ATTACKS))
@pytest.mark.parametrize("name", list(BEARS))
def test_as_many_bad_sites_as_it_bears_do_not_bend_it(name, attack):
    bad, changed = BEARS[name]
    found, honest = bent(name, bad, ATTACKS[attack], **changed)
    # No coordinate leaves the range of the honest ones, but for one rounding.
    assert (found >= honest.min(axis=0) - 2**-22).all()
    assert (found <= honest.max(axis=0) + 2**-22).all()


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_one_bad_site_bends_the_mean(attack):
    found, honest = bent("fedavg", 1, ATTACKS[attack])
    assert (found < honest.min(axis=0)).any() or (found > honest.max(axis=0)).any()


@pytest.mark.parametrize("name", ["fedmedian", "fedtrimmedavg"])
def test_more_than_it_bears_bend_it(name):
    bad, changed = BEARS[name]
    found, honest = bent(name, bad + 1, ATTACKS["far away together"], **changed)
    assert (found > honest.max(axis=0)).any()


# Order and chance


@pytest.mark.parametrize("name", OPTIONS)
def test_chance_has_no_part(name):
    """Nothing depends on a global generator, and numpy's is not touched."""
    found = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        before = np.random.get_state()[1].copy()
        found.append(run(offered(name), 3)[-1].weights)
        assert (np.random.get_state()[1] == before).all()
    assert same_bits(*found)


def turned(site, number, weights):
    """An honest update whose arrays come in another order."""
    update = update_of(site, number, weights)
    return dict(reversed(update.items())) if site in ("site-0", "site-3") else update


@pytest.mark.parametrize("name", OPTIONS)
def test_the_order_in_which_a_site_names_its_arrays_says_nothing(name):
    usual, other = (run(offered(name), 3, update=each)[-1] for each in (update_of, turned))
    assert same_bits(usual.weights, other.weights)
    assert list(other.weights) == list(start_weights())


def test_an_order_that_is_trusted_is_found(monkeypatch):
    """Planted: arrays are handed on as the site sent them."""
    monkeypatch.setattr(server.rounds, "_in_place_of", lambda like, record: record)
    with pytest.raises((AssertionError, ValueError)):
        test_the_order_in_which_a_site_names_its_arrays_says_nothing("fedavgm")


def test_a_record_is_ordered_as_its_weights():
    assert list(to_record(start_weights())) == list(start_weights())
