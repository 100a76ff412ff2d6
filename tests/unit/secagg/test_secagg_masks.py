"""Masks against AES by single blocks, and what they undo."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.secagg import masks
from tacit.secagg.masks import Mask, apply


def keystream(seed: bytes, size: int) -> bytes:
    """CTR written out: each block is AES of its number (SP 800-38A, section 6.5)."""
    block = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()
    blocks = (block.update(number.to_bytes(16, "big")) for number in range(size // 16 + 1))
    return b"".join(blocks)[:size]


def test_the_first_block_is_the_published_one():
    """AES-256 of a zero block under a zero key, as in NIST's AESAVS known answers."""
    vector = np.zeros(4, np.uint32)
    apply([Mask(bytes(32))], vector)
    assert vector.tobytes().hex() == "dc95c078a2408989ad48a21492842087"


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
@pytest.mark.parametrize("length", [1, 7, 1000, 70_000, 150_000])
def test_masks_are_the_keystream_summed(dtype, length):
    """Lengths within a chunk of 256 KiB, and over one and two."""
    seeds = [bytes([n]) * 32 for n in range(3)]
    vector = np.arange(length).astype(dtype)
    expected = vector.astype(np.int64)
    for seed, sign in zip(seeds, (1, -1, 1), strict=True):
        numbers = np.frombuffer(keystream(seed, length * vector.itemsize), dtype)
        expected += sign * numbers.astype(np.int64)
    apply([Mask(seeds[0]), Mask(seeds[1], subtract=True), Mask(seeds[2])], vector)
    assert (vector == expected % 2 ** (8 * vector.itemsize)).all()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.booleans()), max_size=6),
    st.integers(0, 300),
    st.sampled_from(["<u2", "<u4"]),
    st.randoms(),
)
def test_the_opposite_in_any_order_undoes_them(drawn, length, dtype, order):
    vector = np.arange(length).astype(dtype)
    apply([Mask(seed, subtract=subtract) for seed, subtract in drawn], vector)
    order.shuffle(drawn)
    apply([Mask(seed, subtract=not subtract) for seed, subtract in drawn], vector)
    assert (vector == np.arange(length)).all()


def test_a_mask_is_uniform_over_the_modulus():
    """Every byte of 2^20 numbers: chi-square with 255 degrees, mean 255, deviation 22.6."""
    vector = np.zeros(1 << 20, np.uint16)
    apply([Mask(bytes(range(32)))], vector)
    for shift in (0, 8):
        counts = np.bincount((vector >> shift) & 0xFF, minlength=256)
        expected = len(vector) / 256
        assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 5 * 22.6


def test_no_mask_of_the_whole_vector_is_ever_made(monkeypatch):
    seen = []

    def frombuffer(buffer, dtype):
        seen.append(memoryview(buffer).nbytes)
        return original(buffer, dtype)

    original = np.frombuffer
    monkeypatch.setattr(masks.np, "frombuffer", frombuffer)
    apply([Mask(bytes(32)), Mask(bytes(32), subtract=True)], np.zeros(1_000_000, np.uint32))
    assert max(seen) == masks._CHUNK


@pytest.mark.parametrize(
    "vector",
    [np.zeros(3, np.int32), np.zeros(3, ">u4"), np.zeros((2, 2), np.uint32), np.zeros(3, np.uint8)],
)
def test_another_type_or_shape_is_refused(vector):
    with pytest.raises(TypeError, match="uint32 or uint16"):
        apply([], vector)


def test_what_is_not_contiguous_is_refused():
    with pytest.raises(TypeError, match="contiguous"):
        apply([], np.zeros(6, np.uint32)[::2])


def test_a_seed_of_another_length_is_refused_and_none_is_shown():
    with pytest.raises(ValueError, match="32 bytes"):
        Mask(bytes(31))
    assert "seed" not in repr(Mask(bytes(32)))
