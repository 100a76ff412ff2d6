"""Krum, Multi-Krum and Bulyan: against a few lines from the papers, Flower's own, and bad sites."""

import numpy as np
import pytest
from flwr.serverapp.strategy.multikrum import compute_distances
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from seven_sites import combined, flat, flower, offered

import strategies.krum
from strategies.krum import krum_scores, squared_distances
from strategies.records import to_record

SHAPES = {"w": (5, 4), "scale": (), "b": (7,)}
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())


def models(n, seed, spread=1.0, centre=0.0):
    """Models about one random point of the given norm."""
    random = np.random.default_rng(seed)
    where = random.standard_normal(SIZE)
    where *= centre / np.linalg.norm(where)
    return [unflat(where + spread * random.standard_normal(SIZE)) for _ in range(n)]


def unflat(vector):
    found, start = {}, 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        found[name] = np.asarray(vector[start : start + size].reshape(shape), np.float32)
        start += size
    return found


# From the papers, in float64 and by loops


def scores_by_hand(vectors, f):
    """Blanchard et al. 2017, section 4: for each i the n - f - 2 closest others."""
    scores = []
    for i, one in enumerate(vectors):
        others = sorted(((one - v) ** 2).sum() for j, v in enumerate(vectors) if j != i)
        scores.append(sum(others[: max(len(vectors) - f - 2, 1)]))
    return scores


def multikrum_by_hand(vectors, f, m):
    scores = scores_by_hand(vectors, f)
    best = sorted(range(len(vectors)), key=lambda i: scores[i])[:m]
    return sum(vectors[i] for i in best) / m


def bulyan_by_hand(vectors, f):
    """El Mhamdi et al. 2018, section 4: θ = n - 2f by Krum one after another, then β = θ - 2f."""
    left, chosen = list(vectors), []
    while len(chosen) < len(vectors) - 2 * f:
        scores = scores_by_hand(left, f)
        chosen.append(left.pop(scores.index(min(scores))))
    found = []
    for values in np.stack(chosen, 1):
        median = np.median(values)
        nearest = sorted(values, key=lambda value: abs(value - median))
        found.append(np.mean(nearest[: len(chosen) - 2 * f]))
    return np.array(found)


def check_multikrum(n, f, m, seed, **where):
    replies = models(n, seed, **where)
    found = flat(
        combined(offered("multikrum", num_malicious_nodes=f, num_nodes_to_select=m), replies)
    )
    expected = multikrum_by_hand([flat(model) for model in replies], f, m)
    # The mean is taken in float64 and rounded once.
    np.testing.assert_allclose(found, expected, rtol=2**-23, atol=1e-12)


CASES = [(5, 1, 1), (7, 2, 1), (7, 2, 3), (9, 3, 4), (6, 0, 4), (3, 0, 1)]


@pytest.mark.parametrize(("n", "f", "m"), CASES)
@pytest.mark.parametrize("spread", [1.0, 1e-4], ids=["far", "close"])
def test_multikrum_is_the_papers(n, f, m, spread):
    for seed in range(10):
        check_multikrum(n, f, m, seed, spread=spread, centre=10.0)


def test_krum_is_one_of_the_replies():
    replies = models(5, 1)
    found = flat(combined(offered("krum", num_malicious_nodes=1), replies))
    scores = scores_by_hand([flat(model) for model in replies], 1)
    np.testing.assert_array_equal(found, flat(replies[int(np.argmin(scores))]))


@pytest.mark.parametrize(("n", "f"), [(7, 1), (11, 2), (8, 1), (3, 0)])
def test_bulyan_is_the_papers(n, f):
    for seed in range(10):
        replies = models(n, seed)
        found = flat(combined(offered("bulyan", num_malicious_nodes=f), replies))
        expected = bulyan_by_hand([flat(model) for model in replies], f)
        # The mean is taken in float64 and rounded once.
        np.testing.assert_allclose(found, expected, rtol=2**-23, atol=1e-12)


# Flower's own, where it holds and where it does not


@pytest.mark.parametrize(("n", "f"), [(5, 1), (7, 2), (9, 3)])
def test_far_apart_flowers_krum_chooses_the_same(n, f):
    for seed in range(10):
        replies = models(n, seed)
        theirs = combined(flower("Krum", num_malicious_nodes=f), replies)
        ours = combined(offered("krum", num_malicious_nodes=f), replies)
        np.testing.assert_array_equal(flat(ours), flat(theirs))


def test_distances_that_cancel_are_found(monkeypatch):
    """Planted: Flower's distances, in fp32 from norms and products."""
    monkeypatch.setattr(
        strategies.krum,
        "squared_distances",
        lambda models: np.float64(compute_distances([to_record(model) for model in models])),
    )
    with pytest.raises(AssertionError):
        test_multikrum_is_the_papers(7, 2, 1, 1e-4)


def test_ranking_once_is_found(monkeypatch):
    """Planted: Bulyan on the best of one ranking, as Flower has it."""
    monkeypatch.setattr(
        strategies.krum,
        "one_after_another",
        lambda found, bad, wanted: sorted(
            np.argsort(krum_scores(found, bad), kind="stable")[:wanted]
        ),
    )
    with pytest.raises(AssertionError):
        test_bulyan_is_the_papers(11, 2)


def test_a_size_gives_no_more_say():
    replies = models(7, 3)
    for name in ("krum", "multikrum", "bulyan"):
        even, uneven = (
            combined(offered(name), replies, sizes) for sizes in ([1] * 7, [1, 900, 2, 1, 5, 70, 1])
        )
        np.testing.assert_array_equal(flat(even), flat(uneven))


# Properties


@given(st.integers(3, 8), st.integers(0, 2), st.integers(0, 1000))
@hypothesis(max_examples=30, deadline=None)
def test_distances_are_a_metrics_squares(n, f, seed):
    found = squared_distances(models(n, seed, centre=100.0))
    assert (np.diag(found) == 0).all()
    assert (found == found.T).all()
    assert (found >= 0).all()
    roots = np.sqrt(found)
    assert all(
        roots[i, k] <= (roots[i, j] + roots[j, k]) * (1 + 1e-12)
        for i in range(n)
        for j in range(n)
        for k in range(n)
    )


def test_equal_replies_are_taken_in_the_order_of_sites():
    same = models(1, 0)[0]
    assert list(np.argsort(krum_scores(squared_distances([same] * 5), 1), kind="stable")) == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
    np.testing.assert_array_equal(flat(combined(offered("bulyan"), [same] * 5)), flat(same))


def test_the_largest_numbers_there_are_do_not_overflow():
    huge = {name: np.full(shape, 3e38, np.float32) for name, shape in SHAPES.items()}
    opposite = {name: np.asarray(-array) for name, array in huge.items()}
    replies = [*models(5, 2), huge, opposite]
    assert np.isfinite(squared_distances(replies)).all()
    for name in ("krum", "multikrum"):
        found = combined(offered(name, num_malicious_nodes=2), replies)
        assert np.abs(flat(found)).max() < 10
