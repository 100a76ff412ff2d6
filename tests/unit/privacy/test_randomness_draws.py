"""What a stream draws: known answers, their law, and faults that the checks must find.

A statistical check allows five standard errors, or p = 1e-6: a right sampler fails one check in two
million seeds, and the seeds here are fixed.
"""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from randomness_example import PAIRS, seeded
from scipy import stats

from tacit.privacy import randomness
from tacit.privacy.randomness import Stream

VECTOR = json.loads(
    (Path(__file__).parents[2] / "vectors" / "aes256_ctr.json").read_text(encoding="utf-8")
)
N = 2_000_000
box_muller = randomness._box_muller
LEVEL = 1e-6


def signed(word):
    return word - 2**64 if word >= 2**63 else word


def words_of(*values):
    return torch.tensor([signed(value) for value in values], dtype=torch.int64)


# Known answers


def test_aes_gives_the_published_blocks():
    key = bytes.fromhex(VECTOR["key"])
    blocks = VECTOR["blocks"]
    ctr = Cipher(algorithms.AES(key), modes.CTR(bytes.fromhex(blocks[0]["input"]))).encryptor()
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    for block in blocks:
        assert ctr.update(bytes.fromhex(block["plaintext"])).hex() == block["ciphertext"]
        assert ecb.update(bytes.fromhex(block["input"])).hex() == block["output"]


def test_a_stream_is_aes_256_of_a_counter_from_zero():
    key = bytes.fromhex(VECTOR["key"])
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    expected = b"".join(ecb.update(i.to_bytes(16, "big")) for i in range(50))
    stream = Stream(key, predictable=True)
    drawn = [stream._words(n) for n in (1, 2, 0, 33, 64)]
    assert torch.cat(drawn).numpy().tobytes() == expected


def test_a_key_has_256_bits():
    with pytest.raises(ValueError, match="has 16"):
        Stream(bytes(16), predictable=True)


def test_normals_are_the_box_muller_transform_of_the_words():
    n = 2001
    words = seeded()._words(n + 1).tolist()
    half = len(words) // 2
    pairs = list(zip(words[:half], words[half:], strict=True))
    radius = [math.sqrt(-2 * math.log(((w % 2**63) + 0.5) / 2**63)) for w, _ in pairs]
    cosines = [r * math.cos(math.pi * w / 2**63) for r, (_, w) in zip(radius, pairs, strict=True)]
    sines = [r * math.sin(math.pi * w / 2**63) for r, (_, w) in zip(radius, pairs, strict=True)]
    expected = np.array((cosines + sines)[:n])
    drawn = seeded().normals(n).double().numpy()
    # Half a float32 step of rounding, and a few float64 steps of arithmetic.
    np.testing.assert_allclose(drawn, expected, rtol=2.0**-24 + 2.0**-48, atol=2.0**-48)


def radii_at(targets, transform):
    """Give each radius the word that stands for it, and return the normals at angle 0."""
    words = [int(2**63 * math.exp(-t * t / 2)) for t in targets]
    return transform(words_of(*words, *[0] * len(words)))[: len(words)].double().numpy()


def test_the_tail_is_right_to_nine_sigma_and_ends_where_the_notes_say():
    targets = np.arange(0.5, 9.01, 0.5)
    # At 9 sigma the word is 24, so half a word is 1/48 of u and 1/48/9 of the radius.
    tolerance = np.exp(targets**2 / 2) * 2.0**-63 / targets + targets * 2.0**-23
    assert (abs(radii_at(targets, box_muller) - targets) <= tolerance).all()
    extremes = box_muller(words_of(0, 2**63 - 1, 2**63, 2**64 - 1, 0, 0, 0, 2**63))
    assert extremes.isfinite().all()
    assert extremes.abs().max().item() == pytest.approx(math.sqrt(128 * math.log(2)), rel=1e-6)


def test_a_radius_of_24_bits_would_be_found():
    def coarse(words):
        words[: words.numel() // 2] &= ~(2**39 - 1)
        return box_muller(words)

    assert radii_at([5.0], coarse)[0] == pytest.approx(5.0, abs=0.01)
    assert radii_at([8.0], coarse)[0] != pytest.approx(8.0, abs=0.01)


# The law of the normals


def faults(x):
    """Name the checks of independent standard normals that the sample fails."""
    x = x.double().numpy()
    n = len(x)
    found = set()
    errors = {  # standard errors of the sample moments of a standard normal
        "mean": (x.mean(), 1.0),
        "variance": (x.var() - 1, 2.0),
        "skewness": ((x**3).mean(), 15.0),  # E x^6
        "kurtosis": ((x**4).mean() - 3, 96.0),  # E x^8 - 9
    }
    found |= {name for name, (off, var) in errors.items() if abs(off) > 5 * math.sqrt(var / n)}
    if stats.kstest(x, "norm").pvalue < LEVEL:
        found.add("distribution")
    for sigma in (3.0, 4.0, 4.5):
        beyond = int((abs(x) > sigma).sum())
        if stats.binomtest(beyond, n, 2 * stats.norm.sf(sigma)).pvalue < LEVEL:
            found.add("tails")
    for lag in (1, 2, 3, 64, PAIRS, 2 * PAIRS):
        a, b = x[:-lag], x[lag:]
        # Each product has mean 0; x y has variance 1, (x^2 - 1)(y^2 - 1) has 4.
        if abs((a * b).mean()) > 5 / math.sqrt(len(a)):
            found.add("correlation")
        if abs(((a * a - 1) * (b * b - 1)).mean()) > 5 * 2 / math.sqrt(len(a)):
            found.add("dependence")
    return found


@pytest.mark.parametrize("seed", [0, 2**40])
def test_normals_are_normal(seed):
    assert faults(seeded(seed).normals(N)) == set()


def test_many_short_draws_are_normal():
    stream = seeded()
    assert faults(torch.cat([stream.normals(40) for _ in range(N // 40)])) == set()


def cosine_twice(words):
    half = words.numel() // 2
    return box_muller(words)[:half].repeat(2)


def angle_from_the_radius(words):
    half = words.numel() // 2
    words[half:] = words[:half]
    return box_muller(words)


def half_circle(words):
    words[words.numel() // 2 :].abs_()
    return box_muller(words)


def unit_radius(words):
    words[: words.numel() // 2] = int(2**63 * math.exp(-0.5))
    return box_muller(words) * math.sqrt(2)


def same_chunk_again(words):
    return box_muller(torch.arange(words.numel()) * 0x1E3779B97F4A7C15)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (cosine_twice, "correlation"),
        (angle_from_the_radius, "dependence"),
        (half_circle, "mean"),
        (unit_radius, "distribution"),
        (same_chunk_again, "correlation"),
        (lambda words: box_muller(words) * 1.01, "variance"),
        (lambda words: box_muller(words).clamp(-4, 4), "tails"),
    ],
)
def test_a_broken_sampler_is_found(monkeypatch, broken, expected):
    monkeypatch.setattr(randomness, "_box_muller", broken)
    assert expected in faults(seeded().normals(N))


# Coins

rates = st.floats(0, 1, exclude_min=True, exclude_max=True)


@given(rates)
def test_coins_have_their_rate_exactly_or_hardly_less(rate):
    heads = math.floor(Fraction(rate) * 2**64)
    assert 0 <= Fraction(rate) - Fraction(heads, 2**64) < Fraction(1, 2**64)
    assert Fraction(rate) == Fraction(heads, 2**64) or rate < 2**-12
    # Heads are the `heads` lowest words of all 2**64, in signed order.
    below = [word - 2**63 for word in (heads - 1, heads, 0, 2**64 - 1) if word >= 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "_words", lambda stream, n: torch.tensor(below))
        tossed = seeded().coins(len(below), rate).tolist()
    assert tossed == [word + 2**63 < heads for word in below]


@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.3, 0.5, 1 - 1e-4])
def test_coins_show_their_rate(rate):
    tossed = seeded(purpose="coins").coins(N, rate)
    assert tossed.dtype == torch.bool
    assert tossed.shape == (N,)
    heads = int(tossed.sum())
    assert stats.binomtest(heads, N, rate).pvalue > LEVEL
    # Neighbours: both heads with probability rate squared.
    both = int((tossed[::2] & tossed[1::2]).sum())
    assert stats.binomtest(both, N // 2, rate * rate).pvalue > LEVEL


def test_coins_of_a_unit_over_rounds_show_their_rate():
    tossed = torch.stack([seeded(round=r, purpose="coins").coins(50, 0.3) for r in range(4000)])
    for unit in tossed.sum(0).tolist():
        assert stats.binomtest(unit, 4000, 0.3).pvalue > LEVEL / 50


def test_a_coin_with_half_a_percent_too_many_heads_is_found():
    heads = int(seeded().coins(N, 0.3 * 1.01).sum())
    assert stats.binomtest(heads, N, 0.3).pvalue < LEVEL


def test_rate_one_takes_everything():
    assert seeded().coins(1000, 1).all()
    assert seeded().coins(1000, 1.0).shape == (1000,)


@pytest.mark.parametrize("rate", [0, -0.1, 1.0000001, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match=r"rate=.* must be in \(0, 1\]"):
        seeded().coins(3, rate)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3 * PAIRS), max_size=5))
def test_normals_one_array_after_another_are_those_of_one_call(sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(randomness, "NORMALS_AT_ONCE", 2 * PAIRS)
        parts = list(randomness.normals_for(seeded(), sizes))
    assert [len(part) for part in parts] == sizes
    together = torch.cat(parts) if parts else torch.empty(0)
    assert torch.equal(together, seeded().normals(sum(sizes)))


def test_normals_drawn_otherwise_would_be_others(monkeypatch):
    monkeypatch.setattr(randomness, "NORMALS_AT_ONCE", 2 * PAIRS - 2)
    (drawn,) = randomness.normals_for(seeded(), [3 * PAIRS])
    assert not torch.equal(drawn, seeded().normals(3 * PAIRS))
