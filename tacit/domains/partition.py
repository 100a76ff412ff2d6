"""How the rows of one table are divided among many simulated sites.

A partition is a class of anybody's that a YAML of the group ``partition`` names by ``_target_``; it
becomes the domain's key ``domain.partition``. Ours are in ``partition_*.py``, after the survey of
Li et al. 2022, "Federated learning on non-IID data silos" (ICDE, arXiv 2102.02079). Everything is
computed on whole arrays: 100,000 sites of 50 rows take a second or two.

What a partition does is fixed by its options, `seed` among them, and by the table: it belongs to
the configuration of a simulation. In a deployment a site has its own rows and nothing is divided.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from tacit.components import make
from tacit.errors import ConfigurationError
from tacit.settings import Component

Integers = npt.NDArray[np.int64]

LABEL: Final = "label"
"""The column that every domain with classes has."""
DIGITS: Final = 6
"""Of a site's number in its name: up to a million sites the same site has the same name."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a partition may look at: how many rows there are, and columns by which to divide.

    `columns` maps a name to a value for each row [rows], whole numbers or text.
    """

    rows: int
    columns: Mapping[str, npt.NDArray[Any]]

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column.

        Raises
        ------
        ConfigurationError
            The domain has no such column.
        """
        if name not in self.columns:
            raise ConfigurationError(
                f"domain.partition: this domain has no column {name!r} to divide by; it has "
                f"{', '.join(self.columns) or 'none'}"
            )
        return self.columns[name]


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows of every site; made by `parts_of`, which checks them.

    Parameters
    ----------
    names
        Names of the sites, ascending.
    rows
        Row numbers of all sites one after the other, ascending within a site.
    offsets
        Where the rows of each site begin [sites + 1]: those of site k are
        ``rows[offsets[k]:offsets[k + 1]]``.
    """

    names: tuple[str, ...]
    rows: Integers
    offsets: Integers

    @property
    def sizes(self) -> Integers:
        """Number of rows of each site."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Integers:
        """For each of `rows`, the number of the site that holds it."""
        return np.repeat(np.arange(len(self.names)), self.sizes)


class Partition(Protocol):
    """Divides a table's rows among sites."""

    def divide(self, table: Table) -> Parts:
        """Divide the rows; the same table and options give the same parts.

        Raises
        ------
        ConfigurationError
            The options do not fit the table: a site would be without rows, say.
        """
        ...


def partition_of(given: "Mapping[str, Any] | Partition") -> Partition:
    """Make the partition that ``domain.partition`` describes; one that is made is returned.

    Raises
    ------
    ConfigurationError
        It names no class, or the class does not take its options.
    """
    if not isinstance(given, Mapping):
        return given
    if not isinstance(target := given.get("_target_"), str):
        raise ConfigurationError("domain.partition has no _target_: choose one with partition=iid")
    name = str(given.get("name", target))
    options = {key: value for key, value in given.items() if key not in ("_target_", "name")}
    made: Partition = make("domain.partition", Component(name, target, options))
    return made


def parts_of(
    owners: Integers, rows: Integers, among: int, sites: int, names: tuple[str, ...] | None = None
) -> Parts:
    """Gather the rows of each site.

    Parameters
    ----------
    owners, rows
        Site number and row number of each assignment, in any order.
    among
        Number of rows of the table.
    sites
        Number of sites.
    names
        Their names, ascending; None for user-000000 and so on.

    Raises
    ------
    ConfigurationError
        A site has no rows, or one of its rows twice: training would count that record twice, and
        its ε would not hold.
    """
    key = owners.astype(np.int64) * among + rows
    key.sort()
    offsets = np.searchsorted(key, np.arange(sites + 1, dtype=np.int64) * among)
    names = names or tuple(f"user-{number:0{DIGITS}d}" for number in range(sites))
    if len(empty := np.flatnonzero(np.diff(offsets) == 0)):
        raise ConfigurationError(
            f"domain.partition leaves {len(empty):,} of {sites:,} sites without rows "
            f"({names[empty[0]]} is the first), with {among:,} rows to divide: use fewer "
            f"domain.partition.sites, or set domain.partition.rows, with which sites may share rows"
        )
    if len(twice := np.flatnonzero(np.diff(key) == 0)):
        raise ConfigurationError(
            f"domain.partition gives {names[key[twice[0]] // among]} row "
            f"{key[twice[0]] % among} twice: a site holds a row once or not at all"
        )
    key %= among
    return Parts(names, key, offsets)


def check_options(sites: int, rows: int | None, seed: int) -> None:
    """Refuse numbers that can be none of sites, rows of a site, or a seed.

    Raises
    ------
    ConfigurationError
        Names the key and the value.
    """
    counts = {"sites": sites} if rows is None else {"sites": sites, "rows": rows}
    for key, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(
                f"domain.partition.{key}={value} must be a whole number of at least 1"
            )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigurationError(f"domain.partition.seed={seed} must be a whole number, 0 or more")


def check_positive(key: str, value: float) -> None:
    """Refuse what is no positive, finite number.

    Raises
    ------
    ConfigurationError
        Names the key and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise ConfigurationError(f"domain.partition.{key}={value} must be positive and finite")


def check_fits(sites: int, rows: int | None, among: int) -> None:
    """Refuse more sites than rows to divide, and sites of more rows than there are.

    Raises
    ------
    ConfigurationError
        Names the key, the value and what to try.
    """
    if rows is None and sites > among:
        raise ConfigurationError(
            f"domain.partition.sites={sites}: {among:,} rows cannot be divided among so many: set "
            f"domain.partition.rows, with which sites may share rows, or use at most {among}"
        )
    if rows is not None and rows > among:
        raise ConfigurationError(
            f"domain.partition.rows={rows}: there are only {among:,} rows; use at most {among}"
        )
