"""A site's part of a sum: what a round changed, on a grid, rounded without bias, never too far."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.learning.parts import flattened, unflattened, update_part
from tacit.learning.plan import Part, RoundPlan
from tacit.privacy.randomness import Stream

SPACING = 2.0**-8
PART = Part(bits=32, spacing=SPACING, dimension=6, sites=4, largest=1000, weight=0.5)
SHAPES = {"w": (2, 2), "b": (2,)}
PLANS = [
    RoundPlan(3, 0.5, 8.0, 0.1, 1.0, 20.0, part=PART),
    RoundPlan(3, 0.5, 8.0, 0.1, part=PART),
]
private_or_not = pytest.mark.parametrize("plan", PLANS, ids=["private", "plain"])
changes = st.lists(st.floats(-1e6, 1e6, width=32), min_size=6, max_size=6)


class NoNoise:
    """Stands for a stream that nothing may be drawn from."""


def sent(change, plan=PLANS[0], part=PART, start=None, seed=0):
    """A part as real numbers."""
    start = start or {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    pieces = unflattened(np.asarray(change, np.float32), SHAPES)
    weights = {name: start[name] + piece for name, piece in pieces.items()}
    return residues(weights, start, plan, part, seed)


def residues(weights, start, plan, part, seed=0):
    found = update_part(
        weights,
        start,
        replace(plan, part=part),
        part,
        rounding=Stream.seeded(seed, "a", 1, "rounding"),
        noise=NoNoise(),
    )
    assert found.dtype == np.dtype(f"u{part.bits // 8}")
    return part.grid().values(found).numpy()


@private_or_not
@given(change=changes, weight=st.floats(0.01, 1))
def test_each_number_is_one_of_the_two_next_to_what_it_stands_for(plan, change, weight):
    part = replace(PART, weight=weight)
    most = part.largest * SPACING
    exact = np.clip(weight * np.asarray(change, np.float32).astype(np.float64), -most, most)
    found = sent(change, plan, part)
    assert np.abs(found - exact).max() < SPACING
    assert np.abs(found).max() <= most
    assert (found / SPACING == np.rint(found / SPACING)).all()


@private_or_not
def test_what_lies_on_the_grid_arrives_as_it_is(plan):
    change = [1.0, -1.0, 0.0, 2 * SPACING, -2 * SPACING, 7.0]
    assert sent(change, plan).tolist() == [0.5 * each for each in change]


@private_or_not
@pytest.mark.parametrize("fraction", [0.03125, 0.25, 0.5, 0.96875])
@pytest.mark.parametrize("whole", [0, 3, -4])
def test_rounding_is_without_bias(plan, fraction, whole):
    """Of n coins with a chance p the mean is off by √(p (1 - p) ÷ n): five of these."""
    many = 20_000
    part = replace(PART, dimension=many, weight=1.0)
    exact = (whole + fraction) * SPACING
    start = {"w": np.zeros(many, np.float32)}
    found = residues({"w": np.full(many, exact, np.float32)}, start, plan, part)
    assert set(found / SPACING) == {whole, whole + 1}
    off = math.sqrt(fraction * (1 - fraction) / many)
    assert found.mean() / SPACING == pytest.approx(whole + fraction, abs=5 * off)


def test_rounding_is_drawn_anew_for_each_stream():
    change = np.full(6, 0.3 * SPACING)
    assert len({tuple(sent(change, seed=seed)) for seed in range(20)}) > 5


@private_or_not
@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("far", [8.0, 1e6, 3e38])
def test_what_goes_too_far_is_cut_off_at_the_grids_largest(plan, bits, far):
    part = replace(PART, bits=bits)
    most = part.largest * SPACING
    found = sent([far, -far, 0.0, 1.0, far, -far], plan, part)
    assert found.tolist() == [most, -most, 0.0, 0.5, most, -most]


@private_or_not
def test_a_change_that_is_not_finite_counts_as_none(plan):
    found = sent([math.nan, math.inf, -math.inf, 1.0, -1.0, math.nan], plan)
    assert found.tolist() == [0.0, 0.0, 0.0, 0.5, -0.5, 0.0]


def test_it_is_the_change_and_not_the_weights():
    start = {"w": np.full((2, 2), 100.0, np.float32), "b": np.array([-50.0, 3.0], np.float32)}
    change = [1.0, -1.0, 0.0, 2.0, 0.5, 0.0]
    assert sent(change, start=start).tolist() == [0.5 * each for each in change]


def test_neither_weights_nor_start_are_changed():
    weights = {"w": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}
    start = {name: np.zeros_like(array) for name, array in weights.items()}
    residues(weights, start, PLANS[0], PART)
    assert all((array == 1).all() for array in weights.values())
    assert all((array == 0).all() for array in start.values())


def test_a_difference_is_taken_in_double_precision():
    """In single precision 2^24 + 1 is 2^24."""
    start = {"w": np.array([-1.0], np.float32)}
    weights = {"w": np.array([2.0**24], np.float32)}
    assert flattened(weights, start).tolist() == [2.0**24 + 1]


def test_weights_are_one_after_another_in_their_order():
    weights = {"w": np.arange(4.0).reshape(2, 2), "b": np.array([8.0, 9.0])}
    zeros = {"b": np.zeros(2), "w": np.zeros((2, 2))}
    assert flattened(weights, zeros).tolist() == [0.0, 1.0, 2.0, 3.0, 8.0, 9.0]
    turned = {name: weights[name] for name in zeros}
    assert flattened(turned, zeros).tolist() == [8.0, 9.0, 0.0, 1.0, 2.0, 3.0]


def test_a_weight_that_is_not_contiguous_is_read_in_its_own_order():
    turned = np.arange(6.0).reshape(2, 3).T
    assert flattened({"w": turned}, {"w": np.zeros((3, 2))}).tolist() == [0, 3, 1, 4, 2, 5]


def test_a_vector_is_cut_into_weights_in_their_order():
    found = unflattened(np.arange(8.0), {"w": (2, 3), "b": (2,)})
    assert found["w"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert found["b"].tolist() == [6.0, 7.0]


@given(st.dictionaries(st.text(), st.lists(st.integers(1, 3), max_size=3).map(tuple), min_size=1))
def test_what_is_cut_is_what_was_joined(shapes):
    size = sum(math.prod(shape) for shape in shapes.values())
    vector = np.arange(1.0, size + 1)
    zeros = {name: np.zeros(shape) for name, shape in shapes.items()}
    found = unflattened(vector, shapes)
    assert {name: array.shape for name, array in found.items()} == shapes
    assert flattened(found, zeros).tolist() == vector.tolist()
