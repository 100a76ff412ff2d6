"""Weights as Flower's records, and back."""

import numpy as np
from flwr.app import Array, ArrayRecord

from strategies.records import from_record, to_record


def test_weights_travel_bit_for_bit_and_in_order():
    odd = {"w": np.array([[np.float32(2**-149), -0.0]], np.float32), "a": np.zeros((), np.float32)}
    back = from_record(to_record(odd))
    assert list(back) == ["w", "a"]
    for name, array in odd.items():
        assert (back[name].shape, back[name].tobytes()) == (array.shape, array.tobytes())


def test_a_strategys_float64_is_rounded_once():
    record = ArrayRecord({"w": Array(np.array([1 / 3, 1 + 2**-25]))})
    found = from_record(record)["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([1 / 3, 1], np.float32))
