"""Held-out rows of very many sites, and what they share.

Sites that share their test rows share all that follows from them: it is computed once, so that a
hundred thousand sites with one official test set cost what one costs. Above `LISTED` sites with one
test set no site is listed: a result's ``sites`` is empty, and test records, calibration and reasons
stand under ``all`` alone. With test sets of their own all sites are listed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tacit.domains.domain import Examples, SiteData
from tacit.domains.partitioned import PartitionedSites
from tacit.runs.evaluation import ALL

LISTED: Final = 100
"""Sites with one test set that are still listed one by one."""

Array = npt.NDArray[np.float64]

Predictions = Mapping[str, Array]
"""For every site's held-out rows: class probabilities [n, classes] or, where the domain has a
target, numbers [n] in its unit."""


class Alike(Mapping[str, Array]):
    """The same predictions for every site."""

    def __init__(self, sites: Collection[str], predicted: Array) -> None:
        self.predicted = predicted
        self._sites = sites

    def __getitem__(self, site: str) -> Array:
        if site not in self._sites:
            raise KeyError(site)
        return self.predicted

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)


@dataclass(frozen=True, slots=True)
class Group:
    """Sites that share test rows and what is predicted for them.

    Parameters
    ----------
    sites
        Their names, ascending.
    test, predicted
        What they share.
    share
        Of the sites that have these test rows: 1 where all have the same predictions.
    """

    sites: Sequence[str]
    test: Examples
    predicted: Array
    share: float


def groups_of(predicted: Predictions, data: Mapping[str, SiteData]) -> list[Group]:
    """Gather sites with one test set and one array of predictions, in the order of the sites."""
    if isinstance(data, PartitionedSites) and isinstance(predicted, Alike):
        return [Group(data.train.parts.names, data.test, predicted.predicted, 1.0)]
    sites: dict[tuple[int, int], list[str]] = {}
    tests: dict[int, Examples] = {}
    shared: dict[int, int] = {}
    for site, held in data.items():
        test = id(held.test)
        tests[test] = held.test
        shared[test] = shared.get(test, 0) + 1
        sites.setdefault((test, id(predicted[site])), []).append(site)
    return [
        Group(names, tests[test], predicted[names[0]], len(names) / shared[test])
        for (test, _), names in sites.items()
    ]


def are_listed(data: Mapping[str, SiteData]) -> bool:
    """Tell whether a figure is given for each site."""
    if len(data) <= LISTED:
        return True
    if isinstance(data, PartitionedSites):
        return False
    return len({id(held.test) for held in data.values()}) > 1


def held_out_records(data: Mapping[str, SiteData]) -> dict[str, int]:
    """Count the held-out rows of each site; of all at once where none is listed."""
    if not are_listed(data):
        return {ALL: len(data[next(iter(data))].test)}
    return {site: len(held.test) for site, held in data.items()}
