"""Streams: whose numbers are whose, and none of them comes twice.

A statistical check allows five standard errors, and the seeds are fixed.
"""

import copy
import hashlib
import math
import os
import pickle
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from randomness_example import PAIRS, seeded

from tacit.errors import ConfigurationError, TacitError
from tacit.privacy import randomness
from tacit.privacy.randomness import Stream

# Which stream gives what

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
parts = st.tuples(st.integers(0, 2**80), names, st.integers(0, 2**70), names)


@given(parts, parts)
def test_different_parts_give_different_keys(a, b):
    keys = randomness._derived_key(*a), randomness._derived_key(*b)
    assert (keys[0] == keys[1]) == (a == b)
    assert len(keys[0]) == 32


@given(parts, st.integers(0, 79))
def test_every_bit_of_the_seed_counts(a, bit):
    flipped = (a[0] ^ (1 << bit), *a[1:])
    assert randomness._derived_key(*a) != randomness._derived_key(*flipped)


def key_by_concatenation(seed, site, round, purpose):
    return hashlib.blake2b(f"{seed}{site}{round}{purpose}".encode(), digest_size=32).digest()


AMBIGUOUS = [
    ((0, "a", 11, "n"), (0, "a1", 1, "n")),
    ((1, "2a", 1, "n"), (12, "a", 1, "n")),
    ((0, "a", 1, "1n"), (0, "a", 11, "n")),
    ((0, 'a", 1, "n', 2, "n"), (0, "a", 1, 'n", 2, "n')),
    ((0, "a\\", 1, "n"), (0, "a", 1, "n")),
    ((0, "é", 1, "n"), (0, "e\u0301", 1, "n")),
]


@pytest.mark.parametrize(("a", "b"), AMBIGUOUS)
def test_parts_that_could_be_read_two_ways_stay_apart(a, b):
    assert randomness._derived_key(*a) != randomness._derived_key(*b)
    assert not torch.equal(Stream.seeded(*a).normals(4), Stream.seeded(*b).normals(4))


def test_plain_concatenation_would_be_found():
    assert any(key_by_concatenation(*a) == key_by_concatenation(*b) for a, b in AMBIGUOUS)


def test_seeds_that_differ_above_bit_32_differ_where_torch_collides():
    seeds = [7 + k * 2**32 for k in range(3)]

    def distinct(draw):
        return len({tuple(draw(seed).tolist()) for seed in seeds})

    assert distinct(lambda seed: torch.randn(4, generator=torch.Generator().manual_seed(seed))) == 1
    assert distinct(lambda seed: seeded(seed).normals(4)) == 3


def test_streams_of_other_parts_are_uncorrelated():
    streams = [
        seeded(),
        seeded(seed=1),
        seeded(seed=2**32),
        seeded(site="hospital_b"),
        seeded(round=1),
        seeded(purpose="coins"),
        Stream.from_system(),
    ]
    n = 200_000
    products = np.corrcoef(torch.stack([s.normals(n) for s in streams]).double().numpy())
    assert abs(products - np.eye(len(streams))).max() < 5 / math.sqrt(n)


@pytest.mark.parametrize("seed", [-1, -(2**40)])
def test_a_negative_seed_is_refused(seed):
    with pytest.raises(ConfigurationError, match=f"seed={seed}"):
        seeded(seed)


def test_a_part_of_the_wrong_kind_is_refused():
    with pytest.raises(ValueError, match="round=-1"):
        seeded(round=-1)
    with pytest.raises(TypeError):
        seeded(seed=1.0)
    with pytest.raises(UnicodeEncodeError):  # two halves of one character are not that character
        seeded(site="\ud83d\ude00")


@pytest.mark.parametrize("draw", [Stream.normals, lambda s, n: s.coins(n, 0.5)])
def test_counts_from_nothing_on_and_never_below(draw):
    stream = seeded()
    for n in (0, 1, 2, 3, 2 * PAIRS - 1, 2 * PAIRS, 2 * PAIRS + 1):
        assert draw(stream, n).shape == (n,)
    assert Stream.normals(stream, 3).dtype == torch.float32
    with pytest.raises(ValueError, match="n=-1"):
        draw(stream, -1)


def test_the_same_calls_give_the_same_numbers_whatever_the_threads():
    def calls():
        stream = seeded()
        return [stream.normals(300_001), stream.coins(100_003, 0.2), stream.normals(5)]

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = calls()
        torch.set_num_threads(3)
        three = calls()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_no_global_generator_is_read_or_moved():
    def states():
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())

    torch.manual_seed(0)
    before, first = states(), seeded().normals(10)
    torch.manual_seed(1)
    assert torch.equal(first, seeded().normals(10))
    torch.manual_seed(0)
    Stream.from_system().coins(10, 0.5)
    assert states() == before


# Noise is used once


def repeats(open_stream):
    """Say whether any 64-bit word comes twice over several calls of a stream."""
    stream = open_stream()
    seen = []
    take = stream._words
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(stream),
            "_words",
            lambda stream, n: seen.append(take(n).clone()) or seen[-1].clone(),
        )
        for n in (1, 10, 1000, 100_000, 10):
            stream.normals(n)
            stream.coins(n, 0.5)
    # Two of 2e5 random words agree with probability 1e-9.
    words = torch.cat(seen)
    return len(words.unique()) < len(words)


class Rewound(Stream):
    """A stream that starts again at every call."""

    def _words(self, n):
        return seeded()._words(n)


def test_no_two_calls_share_noise():
    assert not repeats(Stream.from_system)
    assert not repeats(seeded)


def test_a_stream_that_rewinds_would_be_found():
    assert repeats(Rewound.from_system)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, *[lambda s, p=p: pickle.dumps(s, p) for p in range(6)]],
)
def test_a_stream_cannot_be_copied_or_pickled(duplicate):
    with pytest.raises(TypeError, match="copied or pickled"):
        duplicate(Stream.from_system())


def test_the_key_is_nowhere_to_be_read():
    key = bytes(range(32))
    stream = Stream(key, predictable=True)
    assert repr(stream) == "Stream(predictable=True)"
    values = [getattr(stream, name) for name in Stream.__slots__]
    assert not hasattr(stream, "__dict__")
    assert key not in values
    assert all(key.hex() not in repr(value) for value in values)


def test_predictable_says_where_the_key_came_from():
    assert seeded().predictable
    assert not Stream.from_system().predictable


def test_a_forked_process_is_refused():
    stream = Stream.from_system()
    child = os.fork()
    if child == 0:
        try:
            stream.normals(1)
        except TacitError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert stream.normals(1).shape == (1,)


CRASHING = """
import os, signal, sys
from tacit.privacy.randomness import Stream
for stream in (Stream.seeded(3, "hospital_a", 1, "noise"), Stream.from_system()):
    print(stream.normals(50_001).numpy().tobytes().hex()[-64:])
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_over_a_crash_a_seeded_stream_repeats_and_the_systems_does_not():
    runs = []
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", CRASHING],
            env={**os.environ, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        runs.append(done.stdout.split())
    here = seeded(3, round=1).normals(50_001).numpy().tobytes().hex()[-64:]
    assert runs[0][0] == runs[1][0] == here
    assert len({runs[0][1], runs[1][1], here}) == 3
