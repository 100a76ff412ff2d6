"""Skellam noise: integers whose sums over sites are of the same law.

The symmetric Skellam law of variance μ is that of X - Y, two independent Poisson numbers of mean
μ/2: P(k) = e^-μ I_k(μ). Shares of variance μ₁, μ₂, … add up to one draw of variance μ₁ + μ₂ + …,
so sites can make the noise of a secure sum together, on the integers, where no rounding leaks::

    share = skellam(Stream.from_system(), variance=2.0**24, n=len(vector))

The draws are exact but for a distance of at most `skellam_law.DISTANCE` each: no decision rests on
floating point. A number is proposed from a table of integer weights that lie above the law, and
kept with a probability that a random integer settles. Where float64 cannot tell on which side of
that probability the integer falls (about once in 10¹² draws), 150 decimal digits do. So the same
key gives the same numbers in any process and on any processor, up to one case in about 10⁴
variances: the table's weights are rounded to 24 bits, and two mathematical libraries may round one
of them apart.

References
----------
Skellam 1946, doi:10.2307/2981372 (the law); Devroye 1986, "Non-Uniform Random Variate Generation",
sections II.3 (rejection) and III.4 (alias tables); Vose 1991, doi:10.1109/32.92917 (the alias
table); Trefethen and Weideman 2014, doi:10.1137/130932132, section 3 (the trapezoidal rule).
"""

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from tacit.errors import ConfigurationError
from tacit.privacy.randomness import Stream
from tacit.privacy.skellam_law import LOG_CUT, exact_pmf, reach

LEAST_VARIANCE, MOST_VARIANCE = 2.0**-4, 2.0**60
"""Variances that are drawn: below, a grid would be far too coarse; above, 32 bits cannot hold σ."""

_COLUMNS_LOG = 12
_WEIGHT_LOG = 51
_TOTAL = 1 << (_COLUMNS_LOG + _WEIGHT_LOG)
"""Weight of the whole table, in which each column holds 2**51."""

_AT_ONCE = 1 << 13
"""Draws per pass: the work arrays stay in a core's cache, and their words below the 2**15 from
which torch would hand the clearing of them to several threads."""

_FLOAT_ERROR = 2.0**-44
"""Error of `_Law.pmf`, relative to its largest value P(0). In units of 2**-53, with a library whose
functions are within 4 units in the last place: x of e^-x is off by 25 x and e^-x by 25 x e^-x + 8,
less than 18; a cosine is off by 10 for its angle and 8; at most 80 terms, whose absolute values add
up to P(0), are added with an error of 80. That is 116 of 512. What the sum leaves out is below
2**-85, and P(0) above 2**-32."""

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]


def skellam(stream: Stream, variance: float, n: int) -> torch.Tensor:
    """Draw independent Skellam numbers.

    Calls are not additive: ``skellam(s, v, 5)`` twice is not ``skellam(s, v, 10)``.

    Parameters
    ----------
    stream
        Where the randomness comes from; serves nothing else meanwhile.
    variance
        μ, from 2**-4 to 2**60, in squared units of the grid. The mean is 0.
    n
        How many, at least 0.

    Returns
    -------
    torch.Tensor
        int64 of shape [n], on the CPU.

    Raises
    ------
    ConfigurationError
        The variance is out of range.
    ValueError
        `n` is negative.
    TacitError
        The process was forked since the stream was opened.
    """
    if n < 0:
        raise ValueError(f"n={n} must not be negative")
    law = _law(float(variance))
    drawn = np.empty(n, dtype=np.int64)
    for start in range(0, n, _AT_ONCE):
        law.fill(stream, drawn[start : start + _AT_ONCE])
    return torch.from_numpy(drawn)


class _Law:
    """How the Skellam law of one variance is drawn.

    The integers from -cut to cut - 1 are split into bins of ``2**shift``. Bin b is proposed with a
    weight that is at least ``scale`` × (width × the largest probability in it), a place in it
    uniformly, and place k is kept with probability ``scale × width × P(k) / weight``. The law is
    unimodal, so a bin's largest and smallest probability stand at its ends.
    """

    def __init__(self, variance: float) -> None:
        self.variance = variance
        cut = reach(variance, LOG_CUT)
        self.shift = max(0, math.ceil(math.log2(2 * cut)) - _COLUMNS_LOG)
        width = 1 << self.shift
        # A bin more on each side may not fit: then bins are twice as wide.
        if 2 * math.ceil(cut / width) > 1 << _COLUMNS_LOG:
            self.shift, width = self.shift + 1, 2 * width
        bins_aside = math.ceil(cut / width)
        self.cut = bins_aside * width
        self.starts = np.arange(-bins_aside, bins_aside, dtype=np.int64) * width
        self._prepare_pmf()
        ends = self.starts + (width - 1)
        nearest = np.where(self.starts < 0, -ends, self.starts)
        farthest = np.where(self.starts < 0, -self.starts, ends)
        hats = [_up(p) for p in width * (self.pmf(nearest) + self.error)]
        # Rounded down: what is left of the table's weight goes to the bin with the largest.
        self.scale = _up(_TOTAL / math.fsum(hats) * (1 - 2.0**-20))
        self.weights = [math.ceil(self.scale * hat) for hat in hats]
        left = _TOTAL - sum(self.weights)
        self.weights[bins_aside] += left
        self.thresholds, self.aliases = alias_table(self.weights)
        weights = np.array(self.weights, dtype=np.float64)
        self.keep = self.scale * width / weights
        """Probability with which a place is kept, per unit of its own."""
        self.word_scale = 2.0 ** (64 - self.shift)
        surely = np.maximum(self.pmf(farthest) - self.error, 0) * self.keep * (1 - 2.0**-48)
        # The largest word is left to the longer way: 2**64 itself would not fit.
        self.surely = np.minimum(surely * self.word_scale, np.nextafter(2.0**64, 0)).astype(
            np.uint64
        )

    def fill(self, stream: Stream, drawn: Integers) -> None:
        """Overwrite `drawn` with as many numbers."""
        filled = 0
        while filled < len(drawn):
            kept = self._propose(stream, len(drawn) - filled)
            drawn[filled : filled + len(kept)] = kept
            filled += len(kept)

    def pmf(self, places: Integers) -> NDArray[np.float64]:
        """Compute P(k), each within `error`.

        P(k) is a Fourier coefficient of the law's characteristic function exp(-μ (1 - cos θ)). The
        trapezoidal rule on N points gives the sum of P(k + jN) over all integers j exactly, and N
        is so large that the others are negligible.
        """
        turns = (np.abs(places)[:, None] * self._points) % self._period
        turns = np.minimum(turns, self._period - turns)
        cosines = np.cos(turns * (2 * math.pi / self._period))
        probabilities: NDArray[np.float64] = cosines @ self._amplitudes + 1 / self._period
        return probabilities

    def _prepare_pmf(self) -> None:
        log_left_out = -90 * math.log(2)
        self._period = self.cut + reach(self.variance, log_left_out)
        # 1 - cos θ ≥ 2 θ²/π² up to π: beyond this point, e^… is below 2**-90.
        last = math.pi * math.sqrt(-log_left_out / (2 * self.variance))
        count = min(self._period // 2, math.ceil(last * self._period / (2 * math.pi)))
        points = np.arange(1, count + 1, dtype=np.int64)
        sines = np.sin(points * (math.pi / self._period))
        amplitudes = np.exp(-2 * self.variance * sines * sines) * (2 / self._period)
        if 2 * count == self._period:
            amplitudes[-1] /= 2  # θ = π is its own mirror image
        worth = amplitudes > 2.0**-120 / self._period
        self._points, self._amplitudes = points[worth], amplitudes[worth]
        self.error = _FLOAT_ERROR * float(self._amplitudes.sum() + 1 / self._period)

    def _propose(self, stream: Stream, n: int) -> Integers:
        """Propose n numbers and return those that are kept, in order."""
        words = stream.words(2 * n + 4).numpy().view(np.uint64)
        first, second, spare = words[:n], words[n : 2 * n], words[2 * n :]
        columns = (first & np.uint64((1 << _COLUMNS_LOG) - 1)).view(np.int64)
        own = first >> np.uint64(64 - _WEIGHT_LOG) < self.thresholds[columns]
        bins = np.where(own, columns, self.aliases[columns])
        offsets = (second & np.uint64((1 << self.shift) - 1)).view(np.int64)
        places = self.starts[bins] + offsets
        chances = second >> np.uint64(self.shift)
        kept = chances < self.surely[bins]
        unsure = np.flatnonzero(~kept)
        if len(unsure):
            kept[unsure] = self._decide(
                unsure, places[unsure], bins[unsure], chances[unsure], spare
            )
        return places if bool(kept.all()) else places[kept]

    def _decide(
        self, indices: Integers, places: Integers, bins: Integers, chances: Words, spare: Words
    ) -> NDArray[np.bool_]:
        """Tell which are kept: where ``(chance + u) / word_scale < keep × P(place)``, u in [0, 1).

        Those places are in question whose words stand at `indices` of a pass.
        """
        probabilities = self.pmf(places)
        scaled = self.keep[bins] * self.word_scale
        chance = chances.astype(np.float64)
        certain = (chance + 1) <= (probabilities - self.error) * scaled * (1 - 2.0**-48)
        possible = chance < (probabilities + self.error) * scaled * (1 + 2.0**-48)
        for i in np.flatnonzero(certain != possible):
            # Further digits of u from a hash of words drawn for it: how many words a pass takes
            # must not depend on what float64 could tell.
            index = int(indices[i]).to_bytes(8, "big")
            digits = hashlib.blake2b(spare.tobytes() + index, digest_size=48).digest()
            certain[i] = self._decide_exactly(
                int(places[i]), int(bins[i]), int(chances[i]), int.from_bytes(digits, "big")
            )
        return certain

    def _decide_exactly(self, place: int, bin: int, chance: int, digits: int) -> bool:
        """Compare as `_decide` does, with 384 bits of u and 150 digits of P."""
        # Both sides times weight × 2**384 × word_scale × 2**64; width × word_scale is 2**64.
        left = ((chance << 384) + digits) * self.weights[bin] << 64
        return left < exact_pmf(self.variance, place) * int(self.scale)


@lru_cache(maxsize=16)
def _law(variance: float) -> _Law:
    if not LEAST_VARIANCE <= variance <= MOST_VARIANCE:
        raise ConfigurationError(
            f"Skellam noise of variance {variance:g} cannot be drawn: take a grid on which it is "
            f"from {LEAST_VARIANCE:g} to {MOST_VARIANCE:g}"
        )
    return _Law(variance)


def _up(value: float) -> float:
    """Round up to 24 bits: where processors differ in the last bits, they agree on these."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(math.ceil(mantissa * 2.0**24), exponent - 24)


def alias_table(weights: Sequence[int]) -> tuple[Words, Integers]:
    """Split integer weights into columns that hold at most two of them (Vose 1991).

    Parameters
    ----------
    weights
        At most 2**12 numbers from 0 that add up to 2**63.

    Returns
    -------
    thresholds : ndarray
        uint64 [2**12]: how much of its column, of 2**51, belongs to the weight of its number.
    aliases : ndarray
        int64 [2**12]: to which other weight the rest belongs.
    """
    columns, capacity = 1 << _COLUMNS_LOG, 1 << _WEIGHT_LOG
    left = [*weights, *(0 for _ in range(columns - len(weights)))]
    thresholds, aliases = [capacity] * columns, list(range(columns))
    small = [i for i, weight in enumerate(left) if weight < capacity]
    large = [i for i, weight in enumerate(left) if weight >= capacity]
    while small:
        # Integers that add up to the capacity of all columns: some other weight has the rest.
        low, high = small.pop(), large[-1]
        thresholds[low], aliases[low] = left[low], high
        left[high] -= capacity - left[low]
        if left[high] < capacity:
            small.append(large.pop())
    return np.array(thresholds, dtype=np.uint64), np.array(aliases, dtype=np.int64)
