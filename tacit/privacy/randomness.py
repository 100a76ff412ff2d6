"""The random numbers that a guarantee rests on: noise, Poisson coins, stochastic rounding.

A `Stream` is the AES-256-CTR keystream (NIST SP 800-38A, section 6.5) under a 256-bit key::

    noise = Stream.from_system()                            # deployment, and the default
    noise = Stream.seeded(0, "hospital_a", 3, "noise")      # simulation only
    summed = clipped_sum + sigma * clipping_norm * noise.normals(clipped_sum.numel())

A key from the operating system is used for one stream and exists only inside it: it is not an
attribute, is never written, and a stream can be neither copied, pickled nor used across a fork,
because whoever held the copy would repeat the noise. A torch or numpy generator is no substitute:
neither is cryptographic, and torch's CPU generator keeps 32 bits of its seed, few enough to try
every one of them.

Which words a draw consumes depends only on the calls made before it, so the same calls on the same
key give the same numbers, in any process and under any number of threads. Calls are not additive:
``normals(5)`` twice is not ``normals(10)``. The last bit of a normal may differ between processors
and torch builds, whose logarithm, sine and cosine differ.

Notes
-----
Limits of `Stream.normals`, which are those of every sampler in floating point:

- A true Gaussian is continuous and unbounded. Ours is a function of 127 random bits, computed in
  float64 and rounded once to float32, and never exceeds 9.42 in absolute value: what it leaves out
  has probability 2**-64 per pair, far below any δ.
- Adding float32 noise to a float32 sum rounds again, onto a grid whose spacing depends on the
  numbers added. Mironov 2012 (doi:10.1145/2382196.2382264) turned such rounding into an attack on
  the Laplace mechanism; Holohan and Braghin 2021 (arXiv 2107.10138) treat the Gaussian. The
  accounting does not cover this leak. A float64 intermediate closes the gaps in the sampler, so
  that every float32 of ordinary size is reached, but not the ones of the addition; only discrete
  noise on integers does.
- Nothing here hides how long a draw takes or what it leaves in memory.
"""

import hashlib
import json
import math
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, Self

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tacit.errors import ConfigurationError, TacitError

_KEY_BYTES = 32

_PAIRS_AT_ONCE = 1 << 14
"""Pairs of normals per pass: the work arrays (0.6 MB) stay in a core's cache, and below the 2**15
elements from which torch would hand the arithmetic to several threads."""

NORMALS_AT_ONCE = 256 * _PAIRS_AT_ONCE
"""Most normals that `normals_for` draws in one call. Whole passes: only so do calls add up."""

_LOW_63_BITS = (1 << 63) - 1

_JSON = json.JSONEncoder(ensure_ascii=False)
"""Made once: a cohort opens thousands of streams in a second."""


class Stream:
    """A cryptographic stream of random numbers under one key.

    Make one with `Stream.from_system` or `Stream.seeded`. A stream serves one thread.

    Parameters
    ----------
    key
        32 secret bytes that no other stream has.
    predictable
        Whether someone who knows the configuration of the run can compute the key.

    Attributes
    ----------
    predictable
        True for a seeded stream. Where noise or coins come from one, ε is infinite and only data
        marked as test data may be used.
    """

    __slots__ = ("_keystream", "_process", "predictable")

    def __init__(self, key: bytes, *, predictable: bool) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a key has {_KEY_BYTES} bytes, this one has {len(key)}")
        # One key, one stream: the counter may start at zero.
        self._keystream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self._process = os.getpid()
        self.predictable = predictable

    @classmethod
    def from_system(cls) -> Self:
        """Open a stream that nobody can predict or repeat, keyed by the operating system."""
        return cls(os.urandom(_KEY_BYTES), predictable=False)

    @classmethod
    def seeded(cls, seed: int, site: str, round: int, purpose: str) -> Self:
        """Open the stream that belongs to these four, for simulation only.

        Parameters
        ----------
        seed
            At least 0, of any size; every bit counts.
        site
            Name of the site that draws.
        round
            Round of the run, at least 0.
        purpose
            What is drawn, such as ``"noise"`` or ``"coins"``.

        Raises
        ------
        ConfigurationError
            The seed is negative.
        ValueError
            The round is negative.
        """
        if seed < 0:
            raise ConfigurationError(f"seed={seed} must not be negative: take 0 or any larger one")
        if round < 0:
            raise ValueError(f"round={round} must not be negative")
        return cls(_derived_key(seed, site, round, purpose), predictable=True)

    def normals(self, n: int) -> torch.Tensor:
        """Draw independent standard normal numbers.

        Parameters
        ----------
        n
            How many, at least 0.

        Returns
        -------
        torch.Tensor
            float32 of shape [n], on the CPU. The module's notes say how far it is from Gaussian.

        Raises
        ------
        TacitError
            The process was forked since the stream was opened.
        """
        drawn = torch.empty(_count(n), dtype=torch.float32)
        for part in torch.split(drawn, 2 * _PAIRS_AT_ONCE):
            part.copy_(_box_muller(self._words(part.numel() + part.numel() % 2))[: part.numel()])
        return drawn

    def coins(self, n: int, rate: float) -> torch.Tensor:
        """Toss independent coins, as Poisson sampling does for each unit.

        A coin is heads when a 64-bit word is below ``floor(rate * 2**64)``: that is `rate` exactly
        when the rate is at least 2**-12, and otherwise at most 2**-64 below it, never above.

        Parameters
        ----------
        n
            How many, at least 0.
        rate
            Probability of heads, in (0, 1].

        Returns
        -------
        torch.Tensor
            bool of shape [n], on the CPU.

        Raises
        ------
        ValueError
            The rate is not in (0, 1].
        TacitError
            The process was forked since the stream was opened.
        """
        if not 0 < rate <= 1:
            raise ValueError(f"rate={rate} must be in (0, 1]")
        if rate == 1:
            return torch.ones(_count(n), dtype=torch.bool)
        # Words are signed, so both sides are shifted down by 2**63.
        return self._words(_count(n)) < int(rate * 2.0**64) - 2**63

    def words(self, n: int) -> torch.Tensor:
        """Draw words of 64 random bits each.

        Parameters
        ----------
        n
            How many, at least 0.

        Returns
        -------
        torch.Tensor
            int64 of shape [n] over its whole range, on the CPU.

        Raises
        ------
        TacitError
            The process was forked since the stream was opened.
        """
        return self._words(_count(n))

    def seed(self) -> int:
        """Draw a seed for a generator that protects nobody, at least 0 and below 2**63.

        Raises
        ------
        TacitError
            The process was forked since the stream was opened.
        """
        return int(self._words(1).item()) & _LOW_63_BITS

    def _words(self, n: int) -> torch.Tensor:
        """Take the next n 64-bit words of the keystream, as int64 over its whole range."""
        words = torch.empty(n, dtype=torch.int64)
        self._fill(words)
        return words

    def _fill(self, words: torch.Tensor) -> None:
        """Overwrite contiguous int64 with the next words of the keystream."""
        if os.getpid() != self._process:
            raise TacitError(
                f"a random stream of process {self._process} was used in process {os.getpid()}, "
                "which would repeat its noise: open a stream of its own there"
            )
        if len(words):
            # What encrypts zeros is the keystream itself.
            place = words.zero_().numpy().data.cast("B")
            self._keystream.update_into(place, place)

    def __repr__(self) -> str:
        return f"Stream(predictable={self.predictable})"

    def __reduce__(self) -> NoReturn:
        # The one method that pickle, copy.copy and copy.deepcopy all come to.
        raise TypeError("a random stream cannot be copied or pickled: its noise would repeat")


Streams = Callable[[int, str], Stream]
"""Makes the stream for a round and a purpose."""


def normals_of(streams: Sequence[Stream], n: int) -> torch.Tensor:
    """Draw from each of several streams what its `normals` draws, as float32 [streams, n]."""
    drawn = torch.empty(len(streams), _count(n), dtype=torch.float32)
    for part in torch.split(drawn, 2 * _PAIRS_AT_ONCE, dim=1):
        width = part.shape[1]
        # As many streams as fill a pass: where it is small, starting each operation costs most.
        at_once = max(1, 2 * _PAIRS_AT_ONCE // max(1, width))
        words = torch.empty(min(at_once, len(streams)), width + width % 2, dtype=torch.int64)
        for first in range(0, len(streams), at_once):
            some = streams[first : first + at_once]
            for stream, row in zip(some, words, strict=False):
                stream._fill(row)
            part[first : first + len(some)] = _box_muller(words[: len(some)])[:, :width]
    return drawn


def normals_for(stream: Stream, sizes: Sequence[int]) -> Iterator[torch.Tensor]:
    """Draw the numbers of ``stream.normals(sum(sizes))``, one tensor for each size, when asked.

    So that not all of them lie in memory at once.

    Parameters
    ----------
    stream
        Serves nothing else meanwhile.
    sizes
        How many numbers each tensor has, at least 0.

    Raises
    ------
    TacitError
        The process was forked since the stream was opened.
    """
    undrawn, drawn = sum(sizes), torch.empty(0)
    for size in sizes:
        wanted = torch.empty(_count(size), dtype=torch.float32)
        filled = 0
        while filled < size:
            if not len(drawn):
                drawn = stream.normals(min(undrawn, NORMALS_AT_ONCE))
                undrawn -= len(drawn)
            part = drawn[: size - filled]
            wanted[filled : filled + len(part)] = part
            filled, drawn = filled + len(part), drawn[len(part) :]
        yield wanted


def _box_muller(words: torch.Tensor) -> torch.Tensor:
    """Turn random words [..., 2n] into as many normals: Box and Muller 1958, equation 1.

    Word i gives the radius, and word i + n the angle, of the normals i and i + n. The words are
    used up: the work is done in place.
    """
    halves = (*words.shape[:-1], 2, words.shape[-1] // 2)
    radii, angles = words.view(halves).unbind(-2)
    # u = (k + 1/2) / 2**63 with 63 bits of k, never 0: log(u) reaches -64 log 2, r 9.42.
    radius = radii.bitwise_and_(_LOW_63_BITS).to(torch.float64)
    radius.add_(0.5).mul_(2.0**-63).log_().mul_(-2).sqrt_()
    angle = angles.to(torch.float64).mul_(math.pi * 2.0**-63)
    normals = torch.empty(words.shape, dtype=torch.float32)
    cosines, sines = normals.view(halves).unbind(-2)
    cosines.copy_(torch.cos(angle).mul_(radius))
    sines.copy_(angle.sin_().mul_(radius))
    return normals


def _derived_key(seed: int, site: str, round: int, purpose: str) -> bytes:
    """Hash the four parts to a key; JSON keeps ("a", 11) apart from ("a1", 1)."""
    parts = [operator.index(seed), site, operator.index(round), purpose]
    written = _JSON.encode(parts).encode()
    return hashlib.blake2b(written, digest_size=_KEY_BYTES, person=b"tacit.stream/1").digest()


def _count(n: int) -> int:
    if n < 0:
        raise ValueError(f"n={n} must not be negative")
    return n
