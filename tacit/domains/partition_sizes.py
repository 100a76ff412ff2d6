"""Partitions whose sites are alike in what they hold: all of one size, or of very unlike sizes."""

import numpy as np
import numpy.typing as npt

from tacit.domains.partition import (
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


class IID:
    """Every site holds rows drawn at random: independent and identically distributed.

    Parameters
    ----------
    sites
        How many.
    rows
        Rows of each site, distinct and drawn at random from all; several sites may hold the same
        row. None divides all rows: each lies at one site, and sizes differ by one at most.
    seed
        Fixes the partition.
    """

    def __init__(self, sites: int, rows: int | None = None, seed: int = 0) -> None:
        check_options(sites, rows, seed)
        self.sites, self.rows, self.seed = sites, rows, seed

    def divide(self, table: Table) -> Parts:
        """Divide or draw the rows."""
        check_fits(self.sites, self.rows, table.rows)
        rng = np.random.default_rng(self.seed)
        if self.rows is None:
            sizes = np.diff(np.arange(self.sites + 1) * table.rows // self.sites)
        else:
            sizes = np.full(self.sites, self.rows)
        return _of_sizes(rng, sizes, table, divided=self.rows is None)


class Quantity:
    """Sites hold the same kind of rows and very unlike numbers of them: quantity skew.

    Shares of all rows follow a Dirichlet distribution over the sites (Li et al. 2022, arXiv
    2102.02079, quantity skew, with β = `alpha`) or, where `sigma` is set, a log-normal one. Every
    site has one row at least.

    Parameters
    ----------
    sites
        How many.
    alpha
        Concentration: the smaller, the more unlike the sizes. None where `sigma` is set.
    sigma
        Standard deviation of the logarithm of a size: the larger, the more unlike the sizes.
    rows
        Mean number of rows of a site. Each site then draws its number of distinct rows at random
        from all, several sites may hold the same row, and none has more than there are. None
        divides all rows: each lies at one site.
    seed
        Fixes the partition.
    """

    def __init__(
        self,
        sites: int,
        alpha: float | None = 0.5,
        sigma: float | None = None,
        rows: int | None = None,
        seed: int = 0,
    ) -> None:
        check_options(sites, rows, seed)
        if (alpha is None) == (sigma is None):
            raise ConfigurationError(
                f"domain.partition.alpha={alpha} and domain.partition.sigma={sigma}: set one, for "
                f"sizes by a Dirichlet or by a log-normal distribution, and the other to null"
            )
        for key, value in (("alpha", alpha), ("sigma", sigma)):
            if value is not None:
                check_positive(key, value)
        self.sites, self.alpha, self.sigma, self.rows, self.seed = sites, alpha, sigma, rows, seed

    def divide(self, table: Table) -> Parts:
        """Draw sizes, then rows."""
        check_fits(self.sites, self.rows, table.rows)
        rng = np.random.default_rng(self.seed)
        total = table.rows if self.rows is None else self.sites * self.rows
        sizes = 1 + apportion(self._shares(rng), total - self.sites)
        return _of_sizes(rng, np.minimum(sizes, table.rows), table, divided=self.rows is None)

    def _shares(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        if self.alpha is not None:
            return rng.dirichlet(np.full(self.sites, self.alpha))
        logs = rng.normal(0.0, self.sigma or 0.0, self.sites)
        weights = np.exp(logs - logs.max())  # the largest is 1: no overflow, whatever sigma
        shares: npt.NDArray[np.float64] = weights / weights.sum()
        return shares


def _of_sizes(rng: np.random.Generator, sizes: Integers, table: Table, *, divided: bool) -> Parts:
    owners = np.repeat(np.arange(len(sizes)), sizes)
    rows = rng.permutation(table.rows) if divided else draw_distinct(rng, sizes, table.rows)
    return parts_of(owners, rows, table.rows, len(sizes))
