"""Partitions whose sites hold unlike mixes of labels: by a Dirichlet distribution, or by shards."""

from typing import Final

import numpy as np
import numpy.typing as npt

from tacit.domains.partition import (
    LABEL,
    Integers,
    Parts,
    Table,
    check_fits,
    check_options,
    check_positive,
    parts_of,
)
from tacit.domains.partition_draw import apportion, draw_distinct
from tacit.errors import ConfigurationError

TRIES: Final = 100
"""How often a division is drawn until no site is without rows."""
LEAST_SHARE: Final = 1e-12
"""Of a class that a site would not hold, where the classes that it holds have no more rows."""


class Dirichlet:
    """Every site has a mix of labels of its own, by a Dirichlet distribution: label skew.

    Where all rows are divided, of each class every site gets a share drawn from a Dirichlet
    distribution over the sites (Li et al. 2022, arXiv 2102.02079). Where `rows` is
    set, each site draws its mix of classes from a Dirichlet distribution around the mix of the
    table, and then rows by this mix (Hsu et al. 2019, arXiv 1909.06335, section 3.1). `alpha` is
    the concentration of one class in both; with C classes, Hsu's α is C times it.

    Parameters
    ----------
    sites
        How many.
    alpha
        Concentration: the smaller, the more unlike the sites; far above 1 they are alike.
    rows
        Rows of each site, distinct and drawn at random; several sites may hold the same row, and
        a class that has too few gives way to others. None divides all rows: each lies at one
        site. The division is drawn anew while a site is without rows, up to `TRIES` times.
    seed
        Fixes the partition.
    """

    def __init__(self, sites: int, alpha: float, rows: int | None = None, seed: int = 0) -> None:
        check_options(sites, rows, seed)
        check_positive("alpha", alpha)
        self.sites, self.alpha, self.rows, self.seed = sites, alpha, rows, seed

    def divide(self, table: Table) -> Parts:
        """Divide or draw the rows of each class."""
        check_fits(self.sites, self.rows, table.rows)
        rng = np.random.default_rng(self.seed)
        classes = _by_label(table)
        sizes = np.array([len(rows) for rows in classes])
        if self.rows is None:
            counts = self._divided(rng, sizes)
            drawn = [rng.permutation(rows) for rows in classes]
        else:
            counts = self._drawn(rng, sizes, self.rows)
            drawn = [
                rows[draw_distinct(rng, own, len(rows))]
                for rows, own in zip(classes, counts.T, strict=True)
            ]
        owners = [np.repeat(np.arange(self.sites), own) for own in counts.T]
        return parts_of(np.concatenate(owners), np.concatenate(drawn), table.rows, self.sites)

    def _divided(self, rng: np.random.Generator, sizes: Integers) -> Integers:
        """Return how many rows of each class [sites, classes] every site gets, of all there are."""
        for _ in range(TRIES):
            shares = rng.dirichlet(np.full(self.sites, self.alpha), len(sizes))
            parts = [apportion(own, size) for own, size in zip(shares, sizes, strict=True)]
            counts = np.stack(parts, 1)
            if counts.any(1).all():
                return counts
        empty = int((~counts.any(1)).sum())
        raise ConfigurationError(
            f"domain.partition.alpha={self.alpha:g} left sites without rows in each of {TRIES} "
            f"divisions of {sizes.sum():,} rows among {self.sites:,} sites ({empty:,} in the "
            f"last): use a larger domain.partition.alpha, fewer domain.partition.sites, or set "
            f"domain.partition.rows, with which sites may share rows"
        )

    def _drawn(self, rng: np.random.Generator, sizes: Integers, rows: int) -> Integers:
        """Return how many rows of each class [sites, classes] every site draws."""
        prior = sizes / sizes.sum()
        mix = rng.dirichlet(self.alpha * len(sizes) * prior, self.sites)
        counts = rng.multinomial(rows, mix)
        # Each pass fills a class of every site that is left with too many: it ends.
        while len(over := np.flatnonzero((counts > sizes).any(1))):
            own = np.minimum(counts[over], sizes)
            open_ = np.where(own < sizes, np.maximum(mix[over], LEAST_SHARE), 0.0)
            more = rng.multinomial(rows - own.sum(1), open_ / open_.sum(1, keepdims=True))
            counts[over] = own + more
        return counts


class Shards:
    """Every site holds a few shards of the rows in the order of their labels.

    McMahan et al. 2017 (arXiv 1602.05629, section 3): rows sorted by label, cut into shards of
    equal size, `shards` of them for each site, so that most sites know as many labels at most.

    Parameters
    ----------
    sites
        How many.
    shards
        Shards of each site.
    rows
        Rows of each site, a multiple of `shards`. The sorted rows are then cut into shards of
        ``rows / shards`` (what is left over, chosen at random, is not used) and each site draws
        distinct ones, so that several sites may hold the same. None divides all rows: each lies
        at one site.
    seed
        Fixes the partition.
    """

    def __init__(self, sites: int, shards: int = 2, rows: int | None = None, seed: int = 0) -> None:
        check_options(sites, rows, seed)
        if isinstance(shards, bool) or not isinstance(shards, int) or shards < 1:
            raise ConfigurationError(
                f"domain.partition.shards={shards} must be a whole number of at least 1"
            )
        if rows is not None and rows % shards:
            raise ConfigurationError(
                f"domain.partition.rows={rows} must be a multiple of domain.partition.shards="
                f"{shards}: use {max(1, rows // shards) * shards}"
            )
        self.sites, self.shards, self.rows, self.seed = sites, shards, rows, seed

    def divide(self, table: Table) -> Parts:
        """Cut the sorted rows and deal out the shards."""
        check_fits(self.sites, self.rows, table.rows)
        rng = np.random.default_rng(self.seed)
        shuffled = rng.permutation(table.rows)
        if self.rows is None:
            return self._divided(rng, shuffled, table)
        size = self.rows // self.shards
        pieces = table.rows // size
        ordered = _in_order(shuffled[: pieces * size], table)
        dealt = draw_distinct(rng, np.full(self.sites, self.shards), pieces)
        rows = ordered[dealt[:, None] * size + np.arange(size)].ravel()
        owners = np.repeat(np.arange(self.sites), self.rows)
        return parts_of(owners, rows, table.rows, self.sites)

    def _divided(self, rng: np.random.Generator, shuffled: Integers, table: Table) -> Parts:
        pieces = self.sites * self.shards
        if pieces > table.rows:
            raise ConfigurationError(
                f"domain.partition.sites={self.sites} of domain.partition.shards={self.shards} "
                f"each need {pieces:,} rows, and there are {table.rows:,}: use at most "
                f"{max(1, table.rows // self.shards)} sites, or set domain.partition.rows, with "
                f"which sites may share shards"
            )
        site_of = np.empty(pieces, np.int64)
        site_of[rng.permutation(pieces)] = np.arange(pieces) // self.shards
        sizes = np.diff(np.arange(pieces + 1) * table.rows // pieces)
        rows = _in_order(shuffled, table)
        return parts_of(np.repeat(site_of, sizes), rows, table.rows, self.sites)


def _by_label(table: Table) -> list[Integers]:
    """Return the row numbers of each class that has any."""
    _, codes = np.unique(table.column(LABEL), return_inverse=True)
    ordered = np.argsort(codes, kind="stable")
    return list(np.split(ordered, np.cumsum(np.bincount(codes))[:-1]))


def _in_order(rows: Integers, table: Table) -> Integers:
    """Sort rows by their label; those of one label keep their order."""
    labels: npt.NDArray[np.generic] = table.column(LABEL)[rows]
    return rows[np.argsort(labels, kind="stable")]
