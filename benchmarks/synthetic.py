"""Made-up hospitals on which settings are chosen, so that no real patient's row is ever used for it.

Rows follow a domain's public schema only: a few hidden causes drive correlated columns, the label
follows a logistic model of all columns, and hospitals differ in their patients and in how common
the disease is. Weights, correlations and shifts are drawn anew for every task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from tacit.domains.domain import Examples, SiteData
from tacit.domains.schema import Category, Schema

TEST_ROWS: Final = 500
CAUSES: Final = 4
SHARED: Final = 0.7
"""Part of a column's standard deviation that comes from the hidden causes."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SyntheticTask:
    """Sites with training and test rows, and unlabelled public rows [n, width]."""

    sites: Mapping[str, SiteData]
    pool: torch.Tensor


def make_task(
    schema: Schema, sizes: Mapping[str, int], pool_rows: int, sharpness: float, number: int
) -> SyntheticTask:
    """Make task `number`.

    Parameters
    ----------
    schema
        Columns of the rows; their scaled values have a standard deviation of about a half.
    sizes
        Training rows of each site.
    pool_rows
        Rows of the public pool.
    sharpness
        Standard deviation of the label's log odds: 2.5 makes a hard task, 6 an easy one.
    """
    rng = np.random.default_rng(number)
    columns = [_Column(rng, column) for column in schema.columns]
    effects = rng.normal(size=schema.width)
    centre = _rows(rng, columns, rng.normal(size=(4000, CAUSES)))
    spread = (centre @ effects).std()

    def examples(count: int, shift: Array, threshold: float) -> Examples:
        causes = rng.normal(size=(count, CAUSES)) + shift
        features = _rows(rng, columns, causes)
        odds = sharpness * (features @ effects / spread) - threshold
        labels = rng.random(count) < 1 / (1 + np.exp(-odds))
        return Examples(
            torch.from_numpy(features.astype(np.float32)),
            torch.from_numpy(labels.astype(np.int64)),
        )

    middle = sharpness * (centre @ effects / spread)
    sites = {}
    for site, size in sorted(sizes.items()):
        shift = 0.4 * rng.normal(size=CAUSES)
        threshold = float(np.quantile(middle, 1 - rng.uniform(0.15, 0.9)))
        sites[site] = SiteData(
            examples(size, shift, threshold), examples(TEST_ROWS, shift, threshold)
        )
    pool = _rows(rng, columns, rng.normal(size=(max(pool_rows, 1), CAUSES)))
    return SyntheticTask(sites, torch.from_numpy(pool.astype(np.float32)))


class _Column:
    """How one column follows from the hidden causes."""

    def __init__(self, rng: np.random.Generator, column: object) -> None:
        self.codes = column.codes if isinstance(column, Category) else ()
        count = max(len(self.codes), 1)
        self.loadings = rng.normal(size=(CAUSES, count)) / np.sqrt(CAUSES)
        self.offsets = 0.7 * rng.normal(size=count) if self.codes else np.zeros(count)
        self.width: int = getattr(column, "width", 1)


def _rows(rng: np.random.Generator, columns: list[_Column], causes: Array) -> Array:
    """Draw scaled features [n, width]."""
    parts = []
    for column in columns:
        own = rng.normal(size=(len(causes), column.loadings.shape[1]))
        value = SHARED * causes @ column.loadings + np.sqrt(1 - SHARED**2) * own + column.offsets
        if not column.codes:
            missing = np.zeros((len(causes), column.width - 1))
            parts.append(np.concatenate([0.5 * value, missing], axis=1))
        elif len(column.codes) == 2:
            parts.append(np.where(value[:, 1:] > value[:, :1], 0.5, -0.5))
        else:
            parts.append(np.eye(len(column.codes))[value.argmax(1)])
    return np.concatenate(parts, axis=1)
