"""Who masks with whom, and who holds shares of whose secrets: everybody, or a ring's neighbours.

Above 64 sites each masks with the next ones on either side of it on a ring, whose order is drawn
by a hash of the context and of all advertisements of the round: known to all, chosen by nobody
before they are all there. A server can draw again by changing what it lists; how often it may is
part of what is assumed (`Assumptions.tries_bits`).
"""

from collections.abc import Iterable
from functools import cached_property

from tacit.secagg.assumptions import Assumptions, degree
from tacit.secagg.wire import digest


class Neighbourhoods:
    """The neighbourhoods of one round.

    Parameters
    ----------
    sites
        Who advertised keys.
    session
        Hash of the context and of all advertisements.
    cohort
        How many sites there are in the cohort.
    assumptions
        What is assumed of them.

    Attributes
    ----------
    threshold
        How many holders of a site have its secrets together.
    """

    def __init__(
        self, sites: Iterable[str], session: bytes, cohort: int, assumptions: Assumptions
    ) -> None:
        listed = sorted(sites)
        size = degree(len(listed), cohort, assumptions)
        self.threshold = size.threshold
        self._everybody = tuple(listed) if size.neighbours == len(listed) - 1 else None
        self._half = size.neighbours // 2
        # Sorted by a hash that nobody can predict: every order is as likely.
        self._ring = sorted(listed, key=lambda site: digest(session, site.encode("ascii")))

    def holders(self, site: str) -> tuple[str, ...]:
        """Return who holds shares of a site's secrets, in order: its neighbours and itself.

        Holder number x of `tacit.secagg.shamir` is the x-th of them, from 1.
        """
        if self._everybody is not None:
            return self._everybody
        place = self._places[site]
        around = range(place - self._half, place + self._half + 1)
        return tuple(sorted(self._ring[at % len(self._ring)] for at in around))

    def neighbours(self, site: str) -> tuple[str, ...]:
        """Return with whom a site masks, in order; each of them has it as a neighbour too."""
        return tuple(other for other in self.holders(site) if other != site)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {site: place for place, site in enumerate(self._ring)}
