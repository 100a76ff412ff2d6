"""Many simulated sites on one table: a site's rows are gathered when they are asked for.

100,000 sites of 50 rows are then one table, 5 million row numbers and a name each (about 100 MB),
and no object per site. All sites share one held-out part.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import torch

from tacit.domains.domain import Examples, SiteData
from tacit.domains.partition import Integers, Parts

STEPS: Final = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)
"""What a declared size starts with, above ten: neighbours differ by a third at most."""


class PartitionedRows(Mapping[str, Examples]):
    """Training rows of each site, gathered on demand from one table.

    Parameters
    ----------
    table
        All rows.
    parts
        Which of them lie at which site.
    """

    def __init__(self, table: Examples, parts: Parts) -> None:
        self.table = table
        self.parts = parts
        self._place = {name: number for number, name in enumerate(parts.names)}

    def __getitem__(self, site: str) -> "SiteRows":
        """Return a site's rows; they are gathered when they are looked at."""
        return SiteRows(self, site)

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts.names)

    def __len__(self) -> int:
        return len(self.parts.names)

    def __contains__(self, site: object) -> bool:
        return site in self._place

    def numbers(self, site: str) -> Integers:
        """Return the numbers of a site's rows in the table, ascending."""
        place = self._place[site]
        return self.parts.rows[self.parts.offsets[place] : self.parts.offsets[place + 1]]

    def together(self, sites: Sequence[str]) -> Examples:
        """Gather the rows of several sites, one site after the other, in one copy."""
        rows = torch.from_numpy(np.concatenate([self.numbers(site) for site in sites]))
        return Examples(
            self.table.features.index_select(0, rows),
            self.table.targets.index_select(0, rows),
            self._persons(sites),
        )

    def _persons(self, sites: Sequence[str]) -> torch.Tensor | None:
        """Number the persons of sites, one site after the other: at two of them one is two."""
        if self.table.persons is None:
            return None
        every, first = self.table.persons.numpy(), 0
        found = []
        for site in sites:
            known, own = np.unique(every[self.numbers(site)], return_inverse=True)
            found.append(own + first)
            first += len(known)
        return torch.from_numpy(np.concatenate(found).astype(np.int64))


class SiteRows(Examples):
    """One site's rows of a table: a copy at each look, which nobody keeps."""

    __slots__ = ("_rows", "_site")
    _rows: PartitionedRows
    _site: str

    def __init__(self, rows: PartitionedRows, site: str) -> None:
        rows.numbers(site)  # a site that is not there is said now
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_site", site)

    def __len__(self) -> int:
        return len(self._rows.numbers(self._site))

    @property
    def features(self) -> torch.Tensor:
        """Gather the features."""
        return self._rows.together([self._site]).features

    @property
    def targets(self) -> torch.Tensor:
        """Gather the targets."""
        return self._rows.together([self._site]).targets

    @property
    def persons(self) -> torch.Tensor | None:
        """Number the site's persons; None where rows name nobody."""
        return self._rows._persons([self._site])

    @staticmethod
    def gathered(parts: Sequence[Examples]) -> Examples | None:
        """Gather the rows of several sites in one copy; None where not all are of one table."""
        own = [part for part in parts if isinstance(part, SiteRows)]
        if len(own) < len(parts) or len({id(part._rows) for part in own}) != 1:
            return None
        return own[0]._rows.together([part._site for part in own])


class PartitionedSites(Mapping[str, SiteData]):
    """What each site holds, in the order of names; a site's object is made when it is asked for.

    Parameters
    ----------
    table
        All training rows.
    parts
        Which of them lie at which site.
    test
        Held-out rows, the same object for every site.
    """

    def __init__(self, table: Examples, parts: Parts, test: Examples) -> None:
        self.train = PartitionedRows(table, parts)
        self.test = test

    def __getitem__(self, site: str) -> SiteData:
        return SiteData(self.train[site], self.test)

    def __iter__(self) -> Iterator[str]:
        return iter(self.train)

    def __len__(self) -> int:
        return len(self.train)

    def __contains__(self, site: object) -> bool:
        return site in self.train

    @property
    def whole(self) -> SiteData:
        """The table that every site is cut from: checked once instead of site by site."""
        return SiteData(self.train.table, self.test)


def declared_sizes(parts: Parts) -> dict[str, int]:
    """Return the public size of each site.

    Where all sites have one size, that is it: the configuration says so. Otherwise sizes are
    rounded, exact below ten, so that a plan has few distinct ones. Rows of a partition are public
    or made up, and sizes follow from configuration and table; a deployed site declares a constant
    that does not follow its data.
    """
    sizes = parts.sizes
    if sizes.min() < sizes.max():
        sizes = rounded(sizes)
    return dict(zip(parts.names, sizes.tolist(), strict=True))


def rounded(sizes: Integers) -> Integers:
    """Round sizes of at least 1 to one of `STEPS` times a power of ten; exact up to ten."""
    power = 10 ** np.maximum(np.floor(np.log10(sizes)).astype(np.int64) - 1, 0)
    steps = np.array(STEPS)
    nearest = np.abs(sizes[:, None] - power[:, None] * steps).argmin(1)
    return np.where(sizes <= 10, sizes, power * steps[nearest])
