"""An update is as long as it may be, and no longer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.learning.update import clipped_update, moved

numbers = st.floats(-(2.0**100), 2.0**100, width=32)


def length(update):
    return np.sqrt(sum(np.square(part).sum() for part in update.values()))


@given(st.lists(numbers, min_size=6, max_size=6), st.floats(1e-3, 1e3))
def test_no_update_is_longer_than_c(values, clipping_norm):
    start = {"w": np.zeros((2, 2), np.float32), "b": np.ones(2, np.float32)}
    after = {
        "w": np.array(values[:4], np.float32).reshape(2, 2),
        "b": np.array(values[4:], np.float32),
    }
    update = clipped_update(after, start, clipping_norm)
    # Of float64: a few roundings.
    assert length(update) <= clipping_norm * (1 + 1e-14)


def test_a_short_update_stays_as_it_is():
    start = {"w": np.array([1.0, 2.0], np.float32)}
    after = {"w": np.array([1.5, 1.75], np.float32)}
    update = clipped_update(after, start, 1.0)
    assert update["w"].tolist() == [0.5, -0.25]
    assert moved(start, update)["w"].tolist() == after["w"].tolist()


def test_a_long_update_keeps_its_direction_over_all_weights():
    start = {"w": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)}
    after = {"w": np.array([3.0], np.float32), "b": np.array([4.0], np.float32)}
    update = clipped_update(after, start, 1.0)
    assert update["w"] == pytest.approx([0.6])
    assert update["b"] == pytest.approx([0.8])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_update(value):
    start = {"w": np.zeros(2, np.float32)}
    after = {"w": np.array([value, 1.0], np.float32)}
    assert clipped_update(after, start, 1.0)["w"].tolist() == [0.0, 0.0]
