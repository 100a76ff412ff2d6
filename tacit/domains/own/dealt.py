"""One table dealt out to many simulated sites: rows or, where they name persons, persons."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tacit.domains.domain import Examples
from tacit.domains.own.held import Held, numbered
from tacit.domains.own.schema_file import SchemaFile
from tacit.domains.partition import LABEL, Integers, Partition, Parts, Table
from tacit.domains.partitioned import PartitionedSites, declared_sizes


@dataclass(frozen=True, slots=True)
class Dealt:
    """A table's rows at simulated sites, which share what is held out.

    Parameters
    ----------
    sites
        The sites.
    declared_persons
        The public number of persons of each; None where rows name nobody.
    """

    sites: PartitionedSites
    declared_persons: dict[str, int] | None


def deal(held: Held, schema: SchemaFile, partition: Partition) -> Dealt:
    """Deal training rows out.

    A person goes to a site with all rows, and by the label of the first. What a partition may
    divide by is the label, where there are classes, and the column of sites.

    Raises
    ------
    ConfigurationError
        The partition's options do not fit the table.
    """
    train, test = held.chosen(~held.test), held.chosen(held.test)
    rows = np.flatnonzero(~held.test)
    columns: dict[str, npt.NDArray[np.generic]] = {}
    if schema.target.task in ("classes", "ordinal"):
        columns[LABEL] = _labels(train)
    if held.sites is not None and schema.sites is not None:
        columns[schema.sites.column or "site"] = held.sites[rows]
    if held.persons is None:
        parts = partition.divide(Table(len(train), columns))
        return Dealt(PartitionedSites(train, parts, test), None)
    persons = numbered(held.persons[rows])
    _, first = np.unique(persons, return_index=True)
    dealt = partition.divide(
        Table(len(first), {name: column[first] for name, column in columns.items()})
    )
    return Dealt(
        PartitionedSites(train, _rows_of(dealt, persons), test),
        declared_sizes(dealt),
    )


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
