"""Bytes of the secure sum's messages: what they are written with and read by, strictly.

One sequence of bytes only says a thing: sizes are fixed or written in front, and names are in
order, each once. What reads checks every size against a bound before it takes anything.
"""

import hashlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

MOST_SITES: Final = 1 << 14
"""More sites than this are in no message."""

HASH_BYTES: Final = 32
"""Bytes of a SHA-256 hash, an X25519 key and a seed."""

SIGNATURE_BYTES: Final = 64
"""Bytes of an Ed25519 signature."""

Entries = tuple[tuple[str, bytes], ...]
"""Something of each of several sites, in the order of their names."""

_MOST_NAME: Final = 63
"""Bytes of a site's name at most (`tacit.trust.names`)."""


def framed(*parts: bytes) -> bytes:
    """Join parts so that other parts never join to the same: each has its length in front."""
    return b"".join(piece for part in parts for piece in (len(part).to_bytes(4, "big"), part))


def digest(*parts: bytes) -> bytes:
    """Hash parts with SHA-256, so that other parts have another hash."""
    return hashlib.sha256(framed(*parts)).digest()


def named(name: str) -> bytes:
    """Write a name."""
    written = name.encode("ascii")
    return bytes([len(written)]) + written


def counted(pieces: Iterable[bytes]) -> bytes:
    """Write pieces after their number."""
    listed = list(pieces)
    return len(listed).to_bytes(2, "big") + b"".join(listed)


def listed(entries: Entries) -> bytes:
    """Write names, each with something of a fixed size."""
    return counted(named(name) + content for name, content in entries)


class Reader:
    """Reads what the functions above wrote; every method raises ValueError at anything else."""

    def __init__(self, content: bytes) -> None:
        self._left = memoryview(content)

    def take(self, size: int) -> memoryview:
        """Take the next bytes, without a copy."""
        if size > len(self._left):
            raise ValueError(f"ends {size - len(self._left)} bytes too early")
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def bytes(self, size: int) -> bytes:
        """Take a copy of the next bytes."""
        return bytes(self.take(size))

    def number(self, size: int) -> int:
        """Take a number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def count(self) -> int:
        """Take the number of things that follow."""
        count = self.number(2)
        if count > MOST_SITES:
            raise ValueError(f"lists {count} sites, more than {MOST_SITES}")
        return count

    def name(self) -> str:
        """Take a name."""
        size = self.number(1)
        if not 1 <= size <= _MOST_NAME:
            raise ValueError(f"has a name of {size} letters")
        # A UnicodeDecodeError is a ValueError.
        return self.bytes(size).decode("ascii")

    def names(self) -> tuple[str, ...]:
        """Take names that are in order, each once."""
        names = tuple(self.name() for _ in range(self.count()))
        check_order(names)
        return names

    def entries(self, size: int) -> Entries:
        """Take what `listed` wrote, with so many bytes of each name."""
        entries = tuple((self.name(), self.bytes(size)) for _ in range(self.count()))
        check_order([name for name, _ in entries])
        return entries

    def end(self) -> None:
        """Check that nothing is left."""
        if self._left:
            raise ValueError(f"goes on for {len(self._left)} bytes after its end")


def check_order(names: Iterable[str]) -> None:
    """Check that names are in order, each once.

    Raises
    ------
    ValueError
        They are not.
    """
    for one, next_one in pairwise(names):
        if one >= next_one:
            raise ValueError(f"lists {next_one!r} after {one!r}: not in order, or twice")
