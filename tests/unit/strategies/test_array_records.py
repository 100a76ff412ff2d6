"""Weights as Flower's records, and back."""

import pickle
import weakref

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from strategies.live import LiveArray
from strategies.records import from_record, numbers_of, record_in, to_record


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


ODD = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array(2.5, np.float32),
    np.zeros((0, 3), np.float32),
    np.arange(3, dtype=np.float64),
]


@pytest.mark.parametrize("numbers", ODD, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_is_packed_as_flower_packs_it(numbers):
    live, flowers = LiveArray(numbers), Array(numbers)
    told = (flowers.dtype, flowers.shape, flowers.stype, flowers.data)
    assert (live.dtype, live.shape, live.stype, live.data) == told
    # The id is that of all that travels, the name of the object's class included.
    assert live.object_id == flowers.object_id
    assert np.array_equal(numbers_of(live), numbers)
    assert np.array_equal(numbers_of(flowers), numbers)


def test_an_array_stays_what_it_is_until_something_reads_its_bytes():
    numbers = np.arange(4, dtype=np.float32)
    record = to_record({"w": numbers})
    assert np.shares_memory(from_record(record)["w"], numbers)
    assert not from_record(record)["w"].flags.writeable
    assert numbers.flags.writeable
    assert "data" not in vars(record["w"])
    assert not np.shares_memory(record["w"].numpy(), numbers)


def test_an_array_reaches_another_process_as_flowers_own():
    # As Ray's workers get it, from their own parent.
    arrived = pickle.loads(pickle.dumps(LiveArray(np.ones(3))))  # noqa: S301
    assert type(arrived) is Array
    assert arrived == Array(np.ones(3))


def test_an_array_of_bytes_is_read_where_it_lies():
    packed = Array(np.arange(4, dtype=np.float32))
    found = numbers_of(packed)
    assert np.shares_memory(found, np.frombuffer(packed.data, np.uint8))
    assert not found.flags.writeable


def test_an_array_in_another_order_is_read_too():
    turned = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert np.array_equal(numbers_of(Array(turned)), turned)


def test_reading_content_makes_no_cycle():
    content = RecordDict({"arrays": ArrayRecord({"w": LiveArray(np.ones(3))})})
    assert record_in(content, "arrays", ConfigRecord) is None
    assert record_in(content, "absent", ArrayRecord) is None
    seen = weakref.ref(record_in(content, "arrays", ArrayRecord))
    del content
    assert seen() is None


def test_flowers_own_way_would_make_one():
    content = RecordDict({"arrays": ArrayRecord({"w": LiveArray(np.ones(3))})})
    seen = weakref.ref(content.array_records["arrays"])
    del content
    assert seen() is not None
