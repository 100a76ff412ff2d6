"""What comes from the network is put together, or refused for a reason, within its limits."""

import io
import json
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Metadata, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.supercore.inflatable.inflatable_object import get_object_id
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import objects
from strategies.objects import ids, pack, unpack

MOST = 1 << 20


def message(content):
    metadata = Metadata(1, "", 2, 1, "", "", 1.8e9, 60.0, "train")
    return make_message(metadata, content)


def packed(content):
    parcel = pack(message(content))
    return parcel.id, {name: make() for name, make in parcel.contents(ids(parcel.tree))}


def array_of(data, shape=(2,), stype="numpy.ndarray"):
    return Array("float32", shape, stype, data)


def npy(header):
    text = json.dumps(header).replace("true", "True").replace("false", "False")
    text = text.replace("[", "(").replace("]", ",)").encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def sealed(kind, children, body):
    """Bytes of an object as somebody could make them who is not Flower."""
    body = json.dumps(body).encode()
    content = f"{kind} {','.join(children)} {len(body)}".encode() + b"\x00" + body
    return get_object_id(content), content


def test_what_was_packed_is_unpacked():
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((), np.float32)}
    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(array) for name, array in weights.items()}),
            "config": ConfigRecord({"text": "ε", "bytes": b"\x00"}),
            "metrics": MetricRecord({"x": [1.0, 2.0]}),
        }
    )
    root, contents = packed(content)
    read = unpack(root, contents, MOST)
    assert contents == {}
    assert list(read["arrays"]) == ["a", "b"]
    for name, array in weights.items():
        assert np.array_equal(read["arrays"][name].numpy(), array)
    assert dict(read["config"]) == {"text": "ε", "bytes": b"\x00"}
    assert read["metrics"]["x"] == [1.0, 2.0]


def test_arrays_of_many_chunks_that_are_alike(monkeypatch):
    monkeypatch.setattr("flwr.app.message.array.FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", 64)
    weights = {"a": np.zeros(200, np.float32), "b": np.zeros(100, np.float32)}
    weights["c"] = np.arange(300, dtype=np.float32)
    record = ArrayRecord({name: Array(array) for name, array in weights.items()})
    read = unpack(*packed(RecordDict({"arrays": record})), MOST)
    for name, array in weights.items():
        assert np.array_equal(read["arrays"][name].numpy(), array)


def test_content_does_not_wait_for_the_collector():
    import weakref

    root, contents = packed(RecordDict({"arrays": ArrayRecord([np.zeros(3, np.float32)])}))
    read = unpack(root, contents, MOST)
    seen = weakref.ref(read["arrays"])
    del read
    assert seen() is None


def refused(content, why):
    root, contents = packed(content)
    with pytest.raises(ValueError, match=why):
        unpack(root, contents, MOST)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"descr": "<f4", "fortran_order": False, "shape": [10**15]}, b"\x00" * 8),
        ({"descr": "<f4", "fortran_order": False, "shape": [3]}, b"\x00" * 8),
        ({"descr": "<f4", "fortran_order": False, "shape": [-1, -2]}, b"\x00" * 8),
        ({"descr": "|S0", "fortran_order": False, "shape": [10**15]}, b""),
        ({"descr": "|O", "fortran_order": False, "shape": [1]}, b"\x00" * 8),
        ({"descr": "<U1", "fortran_order": False, "shape": [2]}, b"\x00" * 8),
    ],
)
def test_an_array_that_is_not_what_it_says(header, body):
    array = array_of(npy(header) + body)
    refused(RecordDict({"arrays": ArrayRecord({"x": array})}), "an array says it is")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x04pickle", b"\x93NUMPY\x02\x00"])
def test_an_array_that_is_none(data):
    refused(RecordDict({"arrays": ArrayRecord({"x": array_of(data)})}), "cannot be read")


def test_an_array_of_another_kind():
    array = array_of(b"x", stype="torch.pickle")
    refused(RecordDict({"arrays": ArrayRecord({"x": array})}), r"torch\.pickle")


def test_a_chunk_that_is_named_a_million_times():
    chunk = b"\x00" * 1000
    name, content = sealed("ArrayChunk", [], 0)
    content = f"ArrayChunk  {len(chunk)}".encode() + b"\x00" + chunk
    name = get_object_id(content)
    body = {"dtype": "f", "shape": [1], "stype": "x", "arraychunk_ids": [0] * 1_000_000}
    array, array_content = sealed("Array", [name], body)
    tracemalloc.start()
    with pytest.raises(ValueError, match="more than 1048576 bytes"):
        unpack(array, {name: content, array: array_content}, MOST)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


def test_an_array_that_is_named_very_often():
    array = Array(np.zeros(1000, np.float32))
    record = ArrayRecord({str(number): array for number in range(1000)})
    refused(RecordDict({"arrays": record}), "4128000 bytes; 1048576 are allowed")


def test_too_many_records():
    records = {str(number): MetricRecord({"x": 1}) for number in range(65)}
    refused(RecordDict(records), "65 records; 64 are allowed")


def test_objects_that_are_not_a_message():
    root, contents = packed(RecordDict({"metrics": MetricRecord({"x": 1})}))
    record = next(name for name, c in contents.items() if c.startswith(b"RecordDict"))
    with pytest.raises(ValueError, match="not a message"):
        unpack(record, dict(contents), MOST)
    with pytest.raises(ValueError, match="cannot be read"):
        unpack("0" * 64, dict(contents), MOST)
    del contents[record]
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(root, contents, MOST)


def example():
    arrays = ArrayRecord({"x": Array(np.arange(4, dtype=np.float32))})
    return packed(RecordDict({"arrays": arrays, "config": ConfigRecord({"a": [1, 2], "b": b"x"})}))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_the_bytes_is_more_than_a_refusal(data):
    root, contents = example()
    name = data.draw(st.sampled_from(sorted(contents)))
    content = bytearray(contents[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    contents[name] = bytes(content)
    try:
        read = unpack(root, contents, MOST)
    except ValueError:
        return
    for record in read.values():
        if isinstance(record, ArrayRecord):
            record.to_numpy_ndarrays()


def test_the_checks_are_what_refuses(monkeypatch):
    lies = npy({"descr": "<f4", "fortran_order": False, "shape": [3]}) + b"\x00" * 8
    content = RecordDict({"arrays": ArrayRecord({"x": array_of(lies)})})
    monkeypatch.setattr(objects, "_checked", lambda array: array)
    assert "arrays" in unpack(*packed(content), MOST)
    assert io.BytesIO(lies).read(6) == b"\x93NUMPY"
