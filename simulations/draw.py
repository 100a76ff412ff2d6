"""Which sites take part in a round, where not all do.

In passes over all sites: each pass goes through them in an order of its own, a cohort at a time;
what is left over sits the pass out. So no two rounds of a pass share a site, and none takes part in
more than ⌈rounds / (sites // cohort)⌉ of all, which is what its budget is for. Who takes part is
seen by the coordinator: it amplifies no privacy, and the order need not be secret.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PURPOSE: Final = 0x636F686F7274
"""Keeps this seed's numbers apart from those of others."""


class Draw:
    """The cohort of every round, fixed by a seed.

    Parameters
    ----------
    sites
        All that can take part.
    size
        How many do in a round.
    seed
        Of the experiment.
    """

    def __init__(self, sites: Sequence[int], size: int, seed: int) -> None:
        # Not an array: Flower's ids of nodes fill 64 bits without a sign.
        self._sites = list(sites)
        self._size = size
        self._seed = seed
        self._order = lru_cache(1)(self._ordered)

    def cohort(self, number: int) -> list[int]:
        """Return the sites of a round, counted from 1, in their own order."""
        turn, place = divmod(number - 1, len(self._sites) // self._size)
        drawn = self._order(turn)[place * self._size :][: self._size]
        return [self._sites[place] for place in np.sort(drawn)]

    def _ordered(self, turn: int) -> NDArray[np.int64]:
        return np.random.default_rng([_PURPOSE, self._seed, turn]).permutation(len(self._sites))
