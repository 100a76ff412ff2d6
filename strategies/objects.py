"""Flower's message contents as the objects in which they travel, and back within limits.

Flower cuts a message into a tree of objects (message, records, arrays, chunks of arrays), each
named by the SHA-256 of its bytes. A few bytes can stand for very many: a chunk or an array may be
named any number of times, and the header of an array may claim any shape. So what comes from the
network is measured before it is put together.

This module leans on Flower's non-public ones; `tests/unit/server/test_superlink_version.py` fails
when they move.
"""

import ctypes
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import prod
from tokenize import TokenError
from typing import Final

from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.app.message.arraychunk import ArrayChunk
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.constant import HEAD_BODY_DIVIDER
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_head_values_from_object_content,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from google.protobuf.message import DecodeError
from numpy.lib import format as npy

MOST_RECORDS: Final = 64
"""Most records in one message."""

MOST_WORDS: Final = 4 << 20
"""Most bytes of all that is not arrays: a thousand weights take 200 KB, and a byte of a record may
become fifty in memory."""

_STYPE: Final = "numpy.ndarray"
_CHUNK: Final = ArrayChunk.__qualname__
_NUMBERS: Final = "biuf"
"""Kinds of NumPy types that weights and masks have."""
_LARGE: Final = 32 << 20
FAULTS: Final = (
    AttributeError,
    DecodeError,
    EOFError,
    LookupError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
)
"""What Flower's and NumPy's decoders raise on bytes that neither wrote."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message taken apart: its id, the tree of ids, and the objects, children first."""

    id: str
    tree: ObjectTree
    _objects: dict[str, InflatableObject]

    def contents(self, wanted: Iterable[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """Yield each wanted object with the function that makes its bytes: one at a time."""
        missing = set(wanted)
        for name, held in self._objects.items():
            if name in missing:
                yield name, held.deflate


def pack(message: Message) -> Parcel:
    """Take a message apart and give it its id; its arrays are not copied."""
    with no_object_id_recompute():
        message.metadata.__dict__["_message_id"] = message.object_id
        return Parcel(message.object_id, get_object_tree(message), get_all_nested_objects(message))


def ids(tree: ObjectTree) -> list[str]:
    """Return the ids of a tree, children first, each once."""
    return list(dict.fromkeys(node.object_id for node in iterate_object_tree(tree)))


def unpack(root: str, contents: dict[str, bytes], most: int) -> RecordDict:
    """Put a message's content together.

    Parameters
    ----------
    root
        Id of the message.
    contents
        The objects' bytes by id. It is emptied on the way, so that little is held twice.
    most
        Most bytes that all arrays of the message may hold.

    Raises
    ------
    ValueError
        The objects are not a message with content, or it is larger than `most`.
    """
    try:
        arrays = dict(_arrays(contents, most))
        message = inflate_object_from_contents(root, contents, objects=arrays)
        if not isinstance(message, Message) or not message.has_content():
            raise ValueError("the objects are not a message with content")
        _check_size(message.content, most)
    except FAULTS as error:
        raise ValueError(f"a message cannot be read: {error}") from error
    return message.content


def return_memory() -> None:
    """Give the system back what is free: glibc keeps it in every thread's own heap.

    Without it a large message takes up to twice the memory: what its chunks held is not used again
    for its arrays.
    """
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _arrays(contents: dict[str, bytes], most: int) -> Iterator[tuple[str, InflatableObject]]:
    """Join the chunks of every array; a chunk goes as soon as no array needs it."""
    heads = {name: get_object_head_values_from_object_content(c) for name, c in contents.items()}
    words = sum(len(contents[name]) for name, head in heads.items() if head[0] != _CHUNK)
    if words > MOST_WORDS:
        raise ValueError(f"it has {words} bytes beside its arrays; {MOST_WORDS} are allowed")
    wanted = {name: head[1] for name, head in heads.items() if head[0] == Array.__qualname__}
    uses = Counter(chunk for chunks in wanted.values() for chunk in set(chunks))
    room = most
    freed = 0
    for name, chunks in wanted.items():
        with _views(contents, chunks) as views:
            body = json.loads(bytes(_body(contents.pop(name))))
            parts = [views[index] for index in body["arraychunk_ids"]]
            room -= sum(len(part) for part in parts)
            if room < 0:
                raise ValueError(f"its arrays hold more than {most} bytes")
            data = b"".join(parts)
            del parts
        for chunk in set(chunks):
            uses[chunk] -= 1
            if not uses[chunk]:
                freed += len(contents.pop(chunk))
        if freed > _LARGE:
            freed = 0
            return_memory()
        yield name, _checked(Array(body["dtype"], tuple(body["shape"]), body["stype"], data))


@contextmanager
def _views(contents: dict[str, bytes], chunks: list[str]) -> Iterator[list[memoryview]]:
    views = [_body(contents[chunk]) for chunk in chunks]
    try:
        yield views
    finally:
        views.clear()


def _body(content: bytes) -> memoryview:
    return memoryview(content)[content.index(HEAD_BODY_DIVIDER) + len(HEAD_BODY_DIVIDER) :]


def _checked(array: Array) -> Array:
    """Return the array, whose data must be what its header says: NumPy allocates what it reads."""
    if array.stype != _STYPE:
        raise ValueError(f"an array is {array.stype!r} and not {_STYPE!r}")
    head = BytesIO(array.data)
    version = npy.read_magic(head)
    if version != (1, 0):
        raise ValueError(f"an array is in format {version} and not (1, 0)")
    shape, _, dtype = npy.read_array_header_1_0(head)
    size = prod(shape) * dtype.itemsize
    plain = dtype.kind in _NUMBERS and min(shape, default=0) >= 0
    if not plain or size != len(array.data) - head.tell():
        raise ValueError(f"an array says it is {dtype} of shape {shape}, and is not")
    return array


def _check_size(content: RecordDict, most: int) -> None:
    """Count arrays as often as they are named: whoever reads them copies each."""
    if len(content) > MOST_RECORDS:
        raise ValueError(f"it has {len(content)} records; {MOST_RECORDS} are allowed")
    # Not by `content.array_records`: that makes a cycle, which holds all of it until it is found.
    records = [record for record in content.values() if isinstance(record, ArrayRecord)]
    total = sum(len(array.data) for record in records for array in record.values())
    if total > most:
        raise ValueError(f"its arrays hold {total} bytes; {most} are allowed")
