"""Tests of noise that leaves without anything under it: how much there is, and whether it repeats.

Each has a level: the chance with which it contradicts noise that is as claimed.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, chi2, ksone

Numbers = NDArray[np.float64]

_LOOKED_AT: Final = 4096
"""Numbers of a masked vector that are looked at, evenly spread: a bare tenth is enough to find."""


def too_little(values: Numbers, deviation: float, level: float) -> bool:
    """Tell whether the noise is smaller than claimed.

    The sum of n squares of independent normals of deviation s is s² times a χ² of n; Skellam noise
    of the variances here is as good as normal, and its tails are heavier.

    Parameters
    ----------
    values
        Noise alone, of any shape.
    deviation
        The claim.
    level
        Of the test.
    """
    return bool(np.square(values).sum() / deviation**2 < chi2.ppf(level, values.size))


def visible_deficit(count: int, level: float, power: float = 0.99) -> float:
    """Return which share of the deviation may be missing until `too_little` finds it.

    Parameters
    ----------
    count
        Of independent numbers.
    level, power
        Of the test: it finds a larger deficit with at least this probability.
    """
    return 1 - math.sqrt(float(chi2.ppf(level, count) / chi2.ppf(power, count)))


def most_alike(rows: Numbers) -> tuple[float, float]:
    """Return the largest correlation of two rows, and the chance of one as large.

    Of two independent rows of d centred normals, r² follows a beta law of ½ and (d - 1)/2; the
    chance is that for one pair times the number of pairs.

    Parameters
    ----------
    rows
        [m, d] with m and d at least 2.

    Returns
    -------
    tuple of float
        |r| and its chance, 1 at most.
    """
    count, size = rows.shape
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(norms > 0, norms, 1)
    alike = np.abs(np.triu(unit @ unit.T, 1))
    largest = min(1.0, float(alike.max()))
    chance = float(beta.sf(largest**2, 0.5, (size - 1) / 2)) * count * (count - 1) / 2
    return largest, min(1.0, chance)


def chance_of_masks(residues: NDArray[Any]) -> float:
    """Return the chance that numbers under masks would lie as near to zero, modulo their type.

    Under its masks a part of a sum is uniform; without, it is small beside the modulus that has
    room for the sum. The one-sided Kolmogorov-Smirnov test of the distances from zero, by the exact
    law of Birnbaum and Tingey 1951.

    Parameters
    ----------
    residues
        uint16 or uint32 [d], with d at least 1: the type is the modulus.
    """
    some = residues[:: max(1, len(residues) // _LOOKED_AT)]
    size = 2.0 ** (8 * residues.itemsize)
    values = some.astype(np.float64)
    near = np.sort(np.minimum(values, size - values) / (size / 2))
    farthest = float((np.arange(1, len(near) + 1) / len(near) - near).max())
    return float(ksone.sf(max(0.0, farthest), len(near)))
