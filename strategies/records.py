"""Weights as Flower's array records, and back."""

from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.lib import format as npy
from numpy.typing import NDArray

from strategies.live import NUMPY, LiveArray
from tacit.models.trainable import Weights

Record = TypeVar("Record", ArrayRecord, ConfigRecord)


def record_in(content: RecordDict, key: str, kind: type[Record]) -> Record | None:
    """Return the record of this kind at a key of a message's content, or None.

    Flower's `content.array_records` and its like make a cycle, which holds a gigabyte of content
    until the collector finds it.
    """
    found = content.get(key)
    return found if isinstance(found, kind) else None


def to_record(weights: Weights) -> ArrayRecord:
    """Put weights into an array record; they are not copied, and not to be written to any more."""
    record = ArrayRecord()
    for name, array in weights.items():
        # Given all at once they would be copied into arrays of bytes.
        record[name] = LiveArray(array)
    return record


def from_record(record: ArrayRecord) -> Weights:
    """Unpack an array record as fp32: some strategies compute in fp64.

    What is fp32 already is not copied, and may not be written to.
    """
    return {
        name: np.asarray(numbers_of(array), np.float32, order="C") for name, array in record.items()
    }


def numbers_of(array: Array) -> NDArray[Any]:
    """Return what an array of a record holds: its own bytes, where they lie in order.

    Raises
    ------
    ValueError, TypeError
        Its bytes are not an array of numbers.
    """
    if isinstance(array, LiveArray):
        return array.live
    head = BytesIO(array.data)
    if array.stype != NUMPY or npy.read_magic(head) != (1, 0):
        return array.numpy()
    shape, turned, dtype = npy.read_array_header_1_0(head)
    if turned:
        return array.numpy()
    return np.frombuffer(array.data, dtype, offset=head.tell()).reshape(shape)
