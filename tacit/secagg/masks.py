"""Masks: the keystream of a 32-byte seed, added to or taken from a vector modulo 2**32 or 2**16.

A mask is the AES-256-CTR keystream (NIST SP 800-38A, section 6.5) under its seed, from counter 0,
read as little-endian numbers. Since the modulus is that of the numbers' type, every bit of the
keystream counts and a mask is uniform.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Vector = npt.NDArray[np.uint32] | npt.NDArray[np.uint16]
"""Numbers modulo 2**32 or 2**16, of shape [length]."""

_CHUNK: Final = 1 << 18
"""Bytes that all masks are applied to before the next: with zeros and keystream as long they fit a
core's second-level cache. Measured best of 2**14 to 2**20 on 4 MB; the differences are small."""

_ZEROS: Final = bytes(_CHUNK)


@dataclass(frozen=True, slots=True)
class Mask:
    """One mask of a vector.

    Parameters
    ----------
    seed
        32 secret bytes, which serve one vector only.
    subtract
        Whether it is taken away; two sites that share a seed do one each.
    """

    seed: bytes = field(repr=False)
    subtract: bool = False

    def __post_init__(self) -> None:
        if len(self.seed) != 32:
            raise ValueError(f"a mask's seed has 32 bytes, this one has {len(self.seed)}")


def apply(masks: Sequence[Mask], vector: Vector) -> None:
    """Add or subtract masks, in place; what one does the opposite undoes, in any order.

    Never is there more of a mask in memory than a chunk, and a chunk gets all masks while it is in
    the cache: the vector passes through memory once, however many masks there are.

    Parameters
    ----------
    masks
        Any number.
    vector
        Contiguous little-endian uint32 or uint16, of shape [length]: the type is the modulus.

    Raises
    ------
    TypeError
        The vector is of another type or shape.
    """
    if vector.dtype not in (np.dtype("<u4"), np.dtype("<u2")) or vector.ndim != 1:
        raise TypeError(
            f"a masked vector is flat, uint32 or uint16, not {vector.dtype} of shape {vector.shape}"
        )
    if not vector.flags.c_contiguous:
        raise TypeError("a masked vector must be contiguous: pass a copy")
    # One seed, one vector: the counter may start at zero.
    ciphers = [
        (
            Cipher(algorithms.AES(mask.seed), modes.CTR(bytes(16))).encryptor(),
            np.subtract if mask.subtract else np.add,
        )
        for mask in masks
    ]
    keystream = memoryview(bytearray(_CHUNK))
    step = _CHUNK // vector.itemsize
    for first in range(0, len(vector), step):
        part = vector[first : first + step]
        # What encrypts zeros is the keystream itself.
        zeros = memoryview(_ZEROS)[: part.nbytes]
        place = keystream[: part.nbytes]
        numbers = np.frombuffer(place, vector.dtype)
        for cipher, combine in ciphers:
            cipher.update_into(zeros, place)
            combine(part, numbers, out=part)
