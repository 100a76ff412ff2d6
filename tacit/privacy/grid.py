"""From real vectors to integers modulo a power of two, and back.

A secure sum adds integers modulo 2^b. A `Grid` says what the integers stand for, and bounds both
what one unit can change in them and how likely the sum is to wrap around::

    units = grid.rounded(gradients * (weight / divisor), norm, coins)  # each row clipped to `norm`
    total = grid.clamped(units.sum(0)) + skellam(noise, variance, grid.dimension)
    masked = grid.residues(total)                                      # what masks are added to
    ...
    average = grid.values(sum_of_residues)

Sums over units are of integers, so they are exact, and one unit more or fewer moves them by its own
vector and nothing else. (In floating point it also moves the rounding of every other addition,
which no clipping bounds: Casacuberta et al. 2022, arXiv 2207.10635.)

References
----------
Kairouz, Liu and Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated Learning
with Secure Aggregation", arXiv 2102.06387, section 4 (rounding).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tacit.errors import ConfigurationError
from tacit.privacy.randomness import Stream
from tacit.privacy.skellam_law import log_tail

BITS = (16, 32)

RETRY = 2.0**-10
"""β: largest probability with which a vector is rounded again because it came out too long."""

_TRIES = 64
"""After as many, of probability 2**-640, a vector is cut towards 0 instead."""

_WORDS_AT_ONCE = 1 << 14
"""Fewer than torch hands to several threads; they stay in a core's cache."""

_UNIT = 2.0**-53
"""Largest relative rounding of one operation in float64."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Multiples of a spacing, counted modulo ``2**bits``. Everything in it is public.

    Without noise, the sum of at most `sites` clamped vectors never wraps: each of its coordinates
    is at most `sites` × `largest`, which the constructor holds at 2^(b-1) - 1 or less, and modulo
    2^b every integer from -2^(b-1) to 2^(b-1) - 1 has a residue of its own. What is left up to
    there is the `room` for noise.

    Parameters
    ----------
    bits
        b: 16 or 32.
    spacing
        What one stands for. A power of two from 2**-200 to 2**200, so that scaling is exact.
    dimension
        d: number of coordinates, at least 1.
    sites
        Most vectors in one sum, at least 1.
    largest
        A: largest absolute value of a coordinate of one site's vector before noise, at least 1.

    Raises
    ------
    ConfigurationError
        A value is out of range, or the sum could wrap without any noise.
    """

    bits: int
    spacing: float
    dimension: int
    sites: int
    largest: int

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise ConfigurationError(f"bits={self.bits} must be 16 or 32")
        mantissa, exponent = math.frexp(self.spacing)
        if not (mantissa == 0.5 and -200 <= exponent <= 200):
            raise ConfigurationError(
                f"spacing={self.spacing} must be a power of two from 2**-200 to 2**200"
            )
        for name, value in (
            ("dimension", self.dimension),
            ("sites", self.sites),
            ("largest", self.largest),
        ):
            if value < 1:
                raise ConfigurationError(f"{name}={value} must be at least 1")
        if self.room < 0:
            raise ConfigurationError(
                f"{self.sites} sites × {self.largest} do not fit {self.bits} bits, whose largest "
                f"is {(1 << self.bits - 1) - 1}: take a wider spacing than {self.spacing:g}"
            )

    @property
    def room(self) -> int:
        """How far noise may move a coordinate of any sum without wrapping it."""
        return (1 << self.bits - 1) - 1 - self.sites * self.largest

    def log2_wrap_chance(self, variance: float, steps: int) -> float:
        """Bound log₂ of the probability that any coordinate of any sum of a run wraps.

        Parameters
        ----------
        variance
            Of the Skellam noise on one coordinate, of the shares of all sites together. Fewer
            shares wrap less.
        steps
            Number of sums.

        Returns
        -------
        float
            By Chernoff's bound for either side (`log_tail`), added up over d × steps coordinates.
            It may be above 0, where it says nothing.
        """
        coordinates = 2 * self.dimension * steps
        return math.log2(coordinates) + log_tail(variance, self.room + 1) / math.log(2)

    def squared_sensitivity(self, norm: float) -> int:
        """Bound the squared L2 norm of one unit's rounded vector, a whole number.

        With Δ = norm / spacing it is the smaller of (Δ + √d)², which always holds because a
        coordinate moves by less than 1, and::

            Δ² + d/4 + √(2 log(1/β)) (Δ + √d/2)

        which rounding keeps with probability 1 - β (Kairouz, Liu and Steinke 2021, proposition 22).
        `rounded` holds every vector to it whatever that probability: privacy rests on the check.

        Parameters
        ----------
        norm
            Largest L2 norm before rounding, from 1e-100 to 1e100.

        Raises
        ------
        ConfigurationError
            The norm is out of range, or does not fit the grid.
        """
        if not 1e-100 <= norm <= 1e100:
            raise ConfigurationError(f"norm={norm} must be from 1e-100 to 1e100")
        reach, root = norm / self.spacing, math.sqrt(self.dimension)
        always = (reach + root) ** 2
        usual = reach**2 + root**2 / 4
        usual += math.sqrt(2 * math.log(1 / RETRY)) * (reach + root / 2)
        squared = math.floor(min(always, usual))
        if squared >= 2**62:  # squares are added up in 64 bits
            raise ConfigurationError(
                f"norm={norm:g} is {reach:g} spacings, over 2**31: take a wider spacing than "
                f"{self.spacing:g}"
            )
        return squared

    def l2_sensitivity(self, norm: float) -> float:
        """Return Δ₂: the root of `squared_sensitivity`, rounded up, in units of the grid."""
        return math.nextafter(math.sqrt(self.squared_sensitivity(norm)), math.inf)

    def rounded(self, vectors: torch.Tensor, norm: float, coins: Stream) -> torch.Tensor:
        """Clip each row and round it to the grid, at random so that its mean stays what it was.

        A row whose rounding is longer than `squared_sensitivity` is rounded again. That is where a
        bias comes in: a law conditioned on an event of probability 1 - β has its mean within
        β / (1 - β) times the diameter of the law, √d grid steps, of the mean without.

        Parameters
        ----------
        vectors
            Floating point [n, d], one row for each unit. Entries that are not finite count as 0.
        norm
            Largest L2 norm of a row; longer ones are scaled down to it.
        coins
            Where the randomness comes from. A coordinate is rounded up with a probability within
            2**-53 of its fraction.

        Returns
        -------
        torch.Tensor
            int64 [n, d], on the CPU.

        Raises
        ------
        ConfigurationError
            The norm does not fit the grid.
        ValueError
            The vectors are of another dimension.
        """
        if vectors.dim() != 2 or vectors.shape[1] != self.dimension:
            raise ValueError(
                f"vectors of shape {tuple(vectors.shape)} are not [n, {self.dimension}]"
            )
        most = self.squared_sensitivity(norm)
        exact = clipped(vectors, norm).div_(self.spacing)
        integers = at_random(exact, coins)
        long = (integers.square().sum(1) > most).nonzero().flatten()
        for _ in range(_TRIES):
            if not len(long):
                return integers
            integers[long] = at_random(exact[long], coins)
            long = long[integers[long].square().sum(1) > most]
        integers[long] = exact[long].trunc().to(torch.int64)  # no norm grows by it
        return integers

    def clamped(self, total: torch.Tensor) -> torch.Tensor:
        """Hold every coordinate of a site's vector of integers at `largest` or less.

        Two vectors do not come farther apart by it, in any coordinate: sensitivities stay.
        """
        return total.clamp(-self.largest, self.largest)

    def residues(self, total: torch.Tensor) -> NDArray[np.unsignedinteger]:
        """Write integers modulo 2^b.

        Parameters
        ----------
        total
            int64 of any shape.

        Returns
        -------
        ndarray
            uint16 or uint32 of the same shape.
        """
        whole: NDArray[np.int64] = total.numpy() & ((1 << self.bits) - 1)
        return whole.astype(np.uint16 if self.bits == 16 else np.uint32)

    def values(self, residues: NDArray[np.unsignedinteger]) -> torch.Tensor:
        """Read what residues stand for, which is exact for a sum that did not wrap.

        Parameters
        ----------
        residues
            A sum modulo 2^b, as `residues` writes it.

        Returns
        -------
        torch.Tensor
            float64 of the same shape: each integer from -2^(b-1) to 2^(b-1) - 1, times `spacing`.
        """
        # The same bits, read as signed.
        signed = residues.view(np.int16 if self.bits == 16 else np.int32)
        return torch.from_numpy(signed.astype(np.float64)).mul_(self.spacing)


def finest_grid(bits: int, dimension: int, sites: int, reach: float) -> Grid:
    """Return the finest grid on which sums without noise never wrap.

    `tacit.privacy.shares.shared_noise` finds the grid for sums with noise.

    Parameters
    ----------
    bits, dimension, sites
        As of a `Grid`.
    reach
        Largest absolute value of a coordinate of one site's vector, from 1e-50 to 1e50.

    Raises
    ------
    ConfigurationError
        A value is out of range, or there are too many sites for the bits.
    """
    if not 1e-50 <= reach <= 1e50:
        raise ConfigurationError(f"reach={reach} must be from 1e-50 to 1e50")
    most = ((1 << bits - 1) - 1) // max(1, sites)
    exponent = math.ceil(math.log2(reach / max(1, most)))
    if math.ceil(reach / 2.0**exponent) > most:  # rounded up, it may be one too many
        exponent += 1
    return Grid(bits, 2.0**exponent, dimension, sites, math.ceil(reach / 2.0**exponent))


def clipped(vectors: torch.Tensor, norm: float) -> torch.Tensor:
    """Scale rows down so that no L2 norm exceeds `norm`, rounding included.

    A sum of d squares in float64 is too small by at most d + 1 roundings, in whatever order it is
    taken (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 4.2); the root, a
    quotient and a product add one each. Rows are scaled to the norm less d + 8 of them.

    Parameters
    ----------
    vectors
        Floating point [n, d]. Entries that are not finite become 0.
    norm
        Positive.

    Returns
    -------
    torch.Tensor
        float64 [n, d], a copy on the CPU.
    """
    rows = vectors.detach().to("cpu", torch.float64, copy=True)
    rows = rows.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    most = norm * (1 - (rows.shape[1] + 8) * _UNIT)
    norms = rows.square().sum(1, keepdim=True).sqrt_()
    # A norm that overflows scales its row to 0.
    return rows.mul_(torch.where(norms <= most, 1.0, most / norms))


def at_random(numbers: torch.Tensor, coins: Stream) -> torch.Tensor:
    """Round each of float64 numbers up with the probability of its fraction, else down.

    The probability is within 2**-53 of the fraction: that of k / 2**53 being below it, with k
    uniform from 0 to 2**53 - 1.
    """
    rounded = torch.empty(numbers.shape, dtype=torch.int64)
    exact = torch.split(numbers.flatten(), _WORDS_AT_ONCE)
    for part, place in zip(exact, torch.split(rounded.view(-1), _WORDS_AT_ONCE), strict=True):
        # Words are signed: shifted, from -2**52 to 2**52 - 1.
        toss = coins.words(len(part)).bitwise_right_shift_(11).to(torch.float64)
        toss.mul_(_UNIT).add_(0.5)
        below = part.floor()
        place.copy_(below + (toss < part - below))
    return rounded
