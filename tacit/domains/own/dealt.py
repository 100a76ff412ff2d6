"""One table dealt out to many simulated sites: rows or, where they name persons, persons.

What is held out is dealt out too, in the proportions of what each site learns from: where sites
differ, so does what they are measured on. Where there is too little of it for that, every site is
measured on all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tacit.domains.domain import Examples, SiteData
from tacit.domains.own.held import Booleans, Held, numbered
from tacit.domains.own.schema_file import SchemaFile
from tacit.domains.partition import LABEL, Integers, Partition, Parts, Table
from tacit.domains.partitioned import PartitionedSites, declared_sizes
from tacit.errors import ConfigurationError

LEAST_HELD_OUT: Final = 10
"""Units that are held out for each site, on average, where sites have their own."""


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


@dataclass(frozen=True, slots=True)
class _Units:
    """What is dealt out: rows, or persons with all their rows.

    Parameters
    ----------
    rows
        Where the rows stand in the file [n].
    of_row
        The unit of each [n].
    table
        By what the units may be divided; a person by the first row.
    """

    rows: Integers
    of_row: Integers
    table: Table


def deal(held: Held, schema: SchemaFile, partition: Partition) -> Dealt:
    """Deal rows out.

    A person goes to a site with all rows, and by the label of the first. What a partition may
    divide by is the label, where there are classes, and the column of sites.

    Raises
    ------
    ConfigurationError
        The partition's options do not fit the table.
    """
    train, test = (_units(held, which, schema) for which in (~held.test, held.test))
    try:
        dealt = partition.divide(train.table)
    except ConfigurationError as error:
        if held.persons is None:
            raise
        raise ConfigurationError(f"{error} (what is divided are persons, not rows)") from error
    persons = None if held.persons is None else declared_sizes(dealt)
    parts = dealt if persons is None else _rows_of(dealt, train.of_row)
    sites = PartitionedSites(held.chosen(~held.test), parts, held.chosen(held.test))
    owners = _owners(dealt, train.table, test.table)
    if owners is None:
        return Dealt(sites, declared_sizes(parts), persons)
    site_of = owners[test.of_row]
    in_order = test.rows[np.argsort(site_of, kind="stable")]
    places = np.split(in_order, np.bincount(site_of).cumsum()[:-1])
    each = {
        site: SiteData(own.train, held.at(own_places))
        for (site, own), own_places in zip(sites.items(), places, strict=True)
    }
    return Dealt(each, declared_sizes(parts), persons)


def _units(held: Held, which: Booleans, schema: SchemaFile) -> _Units:
    rows = np.flatnonzero(which)
    columns: dict[str, npt.NDArray[np.generic]] = {}
    if schema.target.task in ("classes", "ordinal"):
        columns[LABEL] = _labels(held.examples)[rows]
    if held.sites is not None and schema.sites is not None:
        columns[schema.sites.column or "site"] = held.sites[rows]
    if held.persons is None:
        return _Units(rows, np.arange(len(rows)), Table(len(rows), columns))
    persons = numbered(held.persons[rows])
    _, first = np.unique(persons, return_index=True)
    of_first = {name: column[first] for name, column in columns.items()}
    return _Units(rows, persons, Table(len(first), of_first))


def _owners(dealt: Parts, train: Table, test: Table) -> Integers | None:
    """Return the site of each held-out unit [u]; None where some site would be without.

    Of units that are alike in every column, each site has the share that it has of those to learn
    from or, where there are none, of all.
    """
    sites = len(dealt.names)
    if test.rows < LEAST_HELD_OUT * sites:
        return None
    kinds = _kinds(train, test)
    learnt, held = kinds[: train.rows][dealt.rows], kinds[train.rows :]
    chance, owners = np.random.default_rng(0), np.empty(test.rows, np.int64)
    for kind in np.unique(held):
        alike = np.flatnonzero(held == kind)
        by = dealt.owners[learnt == kind]
        until = np.bincount(by if len(by) else dealt.owners, minlength=sites).cumsum()
        places = (chance.permutation(len(alike)) + chance.random()) / len(alike)
        owners[alike] = np.searchsorted(until, places * until[-1], side="right")
    return owners if np.bincount(owners, minlength=sites).all() else None


def _kinds(train: Table, test: Table) -> Integers:
    """Number the kinds of units of two tables, one after the other: alike in every column."""
    if not train.columns:
        return np.zeros(train.rows + test.rows, np.int64)
    both = {name: np.concatenate([own, test.columns[name]]) for name, own in train.columns.items()}
    return np.asarray(pd.DataFrame(both).groupby(list(both)).ngroup(), np.int64)


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
