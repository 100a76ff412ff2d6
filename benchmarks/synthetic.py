"""Made-up sites to choose settings on, so that no row of a data set is ever used for it.

Rows of hospitals follow a domain's public schema only: a few hidden causes drive correlated
columns, and hospitals differ in their patients and in how common the disease is. Weights,
correlations and shifts are drawn anew for every task. How label and columns hang together is told
by `Origin`. Fleets are made up as it is: another seed of their generator is another task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from tacit.domains.domain import Examples, SiteData
from tacit.domains.fleets import Fleets
from tacit.domains.schema import Category, Schema

TEST_ROWS: Final = 500
CAUSES: Final = 4
SHARED: Final = 0.7
"""Part of a column's standard deviation that comes from the hidden causes."""

FIRST_SEED: Final = 1000
"""Seed of the first made-up fleets; the domain itself has another (conf/domain/fleets.yaml)."""

Array = npt.NDArray[np.float64]


class Origin(Enum):
    """What comes first."""

    COLUMNS = auto()
    """The label follows a logistic model of the columns (risk factors predict a disease), with a
    threshold of each site's own."""

    LABEL = auto()
    """The columns follow the label (a tumour's nature shows in what is measured), and a site has
    its own share of either."""


@dataclass(frozen=True, slots=True)
class SyntheticTask:
    """Sites with training and test rows, and unlabelled public rows [n, width]."""

    sites: Mapping[str, SiteData]
    pool: torch.Tensor


def make_task(
    schema: Schema,
    sizes: Mapping[str, int],
    pool_rows: int,
    origin: Origin,
    sharpness: float,
    number: int,
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
    origin
        Whether columns or label come first.
    sharpness
        Of `Origin.COLUMNS`: standard deviation of the label's log odds. Of `Origin.LABEL`: distance
        of the classes' hidden causes, in standard deviations.
    """
    rng = np.random.default_rng(number)
    columns = [_Column(rng, column) for column in schema.columns]
    make = _columns_first if origin is Origin.COLUMNS else _label_first
    return make(rng, columns, schema.width, sizes, pool_rows, sharpness)


def make_fleets(number: int) -> SyntheticTask:
    """Make task `number` of the fleets: the same operators with other routes and vehicles."""
    fleets = Fleets(seed=FIRST_SEED + number)
    return SyntheticTask(fleets.load(), fleets.public_pool())


def _columns_first(
    rng: np.random.Generator,
    columns: list["_Column"],
    width: int,
    sizes: Mapping[str, int],
    pool_rows: int,
    sharpness: float,
) -> SyntheticTask:
    effects = rng.normal(size=width)
    centre = _rows(rng, columns, rng.normal(size=(4000, CAUSES)))
    spread = (centre @ effects).std()

    def examples(count: int, shift: Array, threshold: float) -> Examples:
        causes = rng.normal(size=(count, CAUSES)) + shift
        features = _rows(rng, columns, causes)
        odds = sharpness * (features @ effects / spread) - threshold
        return _examples(features, rng.random(count) < 1 / (1 + np.exp(-odds)))

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


def _label_first(
    rng: np.random.Generator,
    columns: list["_Column"],
    width: int,
    sizes: Mapping[str, int],
    pool_rows: int,
    sharpness: float,
) -> SyntheticTask:
    apart = rng.normal(size=CAUSES)
    apart *= sharpness / np.linalg.norm(apart)

    def examples(count: int, shift: Array, share: float) -> Examples:
        labels = rng.random(count) < share
        causes = rng.normal(size=(count, CAUSES)) + shift + (labels[:, None] - 0.5) * apart
        return _examples(_rows(rng, columns, causes), labels)

    sites = {}
    for site, size in sorted(sizes.items()):
        shift, share = 0.2 * rng.normal(size=CAUSES), rng.uniform(0.15, 0.75)
        sites[site] = SiteData(examples(size, shift, share), examples(TEST_ROWS, shift, share))
    pool = examples(max(pool_rows, 1), np.zeros(CAUSES), 0.4)
    return SyntheticTask(sites, pool.features)


def _examples(features: Array, labels: npt.NDArray[np.bool_]) -> Examples:
    return Examples(
        torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))
    )


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
