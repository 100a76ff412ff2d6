"""What partitions draw with: distinct rows for many sites at once, and sizes by shares."""

from typing import Final

import numpy as np
import numpy.typing as npt

from tacit.domains.partition import Integers

AT_ONCE: Final = 2**20
"""Numbers that are drawn in one table, which bounds memory."""


def draw_distinct(rng: np.random.Generator, counts: Integers, among: int) -> Integers:
    """Draw for each site distinct numbers below `among`: every set of them is equally likely.

    Floyd's algorithm (Bentley and Floyd 1987, "A sample of brilliance", CACM 30(9)) for all sites
    at once: one step for the n-th number of every site.

    Parameters
    ----------
    counts
        How many numbers each site gets [sites], at most `among`.

    Returns
    -------
    ndarray
        The numbers [sum of counts], one site after the other.
    """
    order = np.argsort(-counts, kind="stable")
    wanted = counts[order]
    begins = (np.cumsum(counts) - counts)[order]
    drawn = np.empty(counts.sum(), np.int64)
    first, drawing = 0, int(np.count_nonzero(wanted))
    while first < drawing:
        # Sites that want about as many numbers: a table of them wastes little.
        block = slice(first, min(drawing, first + max(1, AT_ONCE // int(wanted[first]))))
        chosen = _chosen(rng, wanted[block], among)
        kept = np.arange(chosen.shape[1]) < wanted[block, None]
        drawn[(begins[block, None] + np.arange(chosen.shape[1]))[kept]] = chosen[kept]
        first = block.stop
    return drawn


def _chosen(rng: np.random.Generator, wanted: Integers, among: int) -> Integers:
    """Draw for sites in falling order of what they want; [sites, most], unset beyond it."""
    chosen = np.empty((int(wanted[0]), len(wanted)), np.int64)
    for step in range(len(chosen)):
        active = int(np.searchsorted(-wanted, -step))
        last = among - wanted[:active] + step
        drawn = rng.integers(0, last, endpoint=True)
        taken = (chosen[:step, :active] == drawn).any(0)
        chosen[step, :active] = np.where(taken, last, drawn)
    return chosen.T


def apportion(shares: npt.NDArray[np.float64], total: int) -> Integers:
    """Cut `total` into whole parts by shares [..., parts] that sum to 1; the parts sum to it.

    Each end is rounded, so that no part is more than one off its share.
    """
    ends = np.round(np.cumsum(shares, -1) * total).astype(np.int64)
    ends[..., -1] = total  # the sum of the shares is 1 up to rounding
    return np.diff(np.minimum(ends, total), axis=-1, prepend=0)
