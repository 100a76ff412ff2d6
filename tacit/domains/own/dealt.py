"""One table dealt out to many simulated sites: rows or, where they name persons, persons.

Of what a site gets, that is held out which is held out of the table, so that a site is measured on
rows like those that it learns from. Where that is too little, every site is measured on all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tacit.domains.domain import Examples, SiteData
from tacit.domains.own.held import Booleans, Held, numbered
from tacit.domains.own.schema_file import SchemaFile
from tacit.domains.partition import LABEL, Integers, Partition, Parts, Table
from tacit.domains.partitioned import PartitionedRows, PartitionedSites, declared_sizes
from tacit.errors import ConfigurationError

LEAST_HELD_OUT: Final = 50
"""Held-out rows for each site, on average, where sites are measured on their own."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """A table's rows at simulated sites.

    Parameters
    ----------
    sites
        The sites.
    declared_sizes, declared_persons
        The public number of rows of each, and of persons; None where rows name nobody.
    """

    sites: Mapping[str, SiteData]
    declared_sizes: dict[str, int]
    declared_persons: dict[str, int] | None


def deal(held: Held, schema: SchemaFile, partition: Partition) -> Dealt:
    """Deal rows out.

    A person goes to a site with all rows, and by the label of the first. What a partition may
    divide by is the label, where there are classes, and the column of sites.

    Raises
    ------
    ConfigurationError
        The partition's options do not fit the table, or a site would have nothing to learn from.
    """
    persons = None if held.persons is None else numbered(held.persons)
    firsts = np.arange(len(held.test))
    if persons is not None:
        _, firsts = np.unique(persons, return_index=True)
    try:
        dealt = partition.divide(Table(len(firsts), _columns(held, firsts, schema)))
    except ConfigurationError as error:
        if persons is None:
            raise
        raise ConfigurationError(f"{error} (what is divided are persons, not rows)") from error
    rows = dealt if persons is None else _rows_of(dealt, persons)
    train, test = _kept(rows, ~held.test), _kept(rows, held.test)
    if len(empty := np.flatnonzero(train.sizes == 0)):
        raise ConfigurationError(
            f"domain.partition leaves {rows.names[empty[0]]} without rows to learn from: all that "
            "it gets are held out: use fewer domain.partition.sites"
        )
    table = held.chosen(~held.test)
    sites: Mapping[str, SiteData]
    if len(test.rows) < LEAST_HELD_OUT * len(rows.names) or not test.sizes.all():
        sites = PartitionedSites(table, train, held.chosen(held.test))
    else:
        learnt = PartitionedRows(table, train)
        places = np.split(np.flatnonzero(held.test)[test.rows], test.offsets[1:-1])
        sites = {
            site: SiteData(learnt[site], held.at(own))
            for site, own in zip(learnt, places, strict=True)
        }
    return Dealt(
        sites,
        declared_sizes(train),
        None if persons is None else declared_sizes(_kept(dealt, ~held.test[firsts])),
    )


def _columns(held: Held, rows: Integers, schema: SchemaFile) -> dict[str, npt.NDArray[np.generic]]:
    """Return by what some rows may be divided."""
    columns: dict[str, npt.NDArray[np.generic]] = {}
    if schema.target.task in ("classes", "ordinal"):
        columns[LABEL] = _labels(held.examples)[rows]
    if held.sites is not None and schema.sites is not None:
        columns[schema.sites.column or "site"] = held.sites[rows]
    return columns


def _kept(parts: Parts, which: Booleans) -> Parts:
    """Keep some of what is dealt out, numbered as they stand among those that are kept."""
    kept = which[parts.rows]
    sizes = np.bincount(parts.owners[kept], minlength=len(parts.names))
    numbers = which.cumsum() - 1
    offsets = np.concatenate([[0], sizes.cumsum()]).astype(np.int64)
    return Parts(parts.names, numbers[parts.rows[kept]], offsets)


def _labels(examples: Examples) -> Integers:
    """Return the class of each row [n], also of answers to 'is it above class k?'."""
    targets = examples.targets.numpy()
    classes = targets.sum(1) if targets.ndim == 2 else targets
    return np.asarray(classes, np.int64)


def _rows_of(dealt: Parts, persons: Integers) -> Parts:
    """Turn persons of every site into their rows, ascending within a site."""
    by_person = np.argsort(persons, kind="stable")
    counts = np.bincount(persons)
    begins = np.cumsum(counts) - counts
    found = [
        np.sort(
            np.concatenate([by_person[begins[p] : begins[p] + counts[p]] for p in own.tolist()])
        )
        for own in np.split(dealt.rows, dealt.offsets[1:-1])
    ]
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in found])])
    return Parts(dealt.names, np.concatenate(found), offsets.astype(np.int64))
