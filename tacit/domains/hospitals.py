"""Four hospitals made from real data: scikit-learn's Wisconsin diagnostic breast cancer.

The rows are real; their division among four hospitals of unequal size and label mix is ours.
Everything about the division is fixed by a hash of the row number, so it was settled before any
experiment and does not change with a seed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer

from tacit.domains.domain import Card, Examples, Metric, SiteData
from tacit.domains.schema import Number, Schema
from tacit.domains.unlabelled import Unlabelled, no_column, table_rows
from tacit.errors import ConfigurationError

SALT: Final = "tacit/hospitals/1"
TEST_SHARE: Final = 0.30
POOL_SHARE: Final = 0.14
"""Share of all rows that is held out, and share of the others that is public; the rest trains."""

# Where a malignant and where a benign case is treated: the reason for the unequal label mixes.
MALIGNANT_SHARE: Final = MappingProxyType(
    {"county": 0.12, "referral": 0.40, "screening": 0.08, "university": 0.40}
)
BENIGN_SHARE: Final = MappingProxyType(
    {"county": 0.28, "referral": 0.12, "screening": 0.15, "university": 0.45}
)
DECLARED_SIZES: Final = MappingProxyType(
    {"county": 70, "referral": 70, "screening": 40, "university": 140}
)

_SIZES: Final = (
    # name, valid and typical interval of the mean over a sample's nuclei, and of its standard
    # error. Units are those of the digitised images. A nucleus has a radius of about 7 to 21;
    # perimeter and area follow from a circle of that radius; the other features are ratios or
    # local variations whose order of magnitude follows from their definitions (Street, Wolberg
    # and Mangasarian 1993, "Nuclear feature extraction for breast tumor diagnosis").
    ("radius", (0, 60), (7, 21), (0, 1)),
    ("texture", (0, 120), (10, 30), (0, 3)),
    ("perimeter", (0, 400), (44, 132), (0, 7)),
    ("area", (0, 12000), (150, 1400), (0, 100)),
    ("smoothness", (0, 1), (0.05, 0.15), (0, 0.015)),
    ("compactness", (0, 3), (0, 0.3), (0, 0.06)),
    ("concavity", (0, 3), (0, 0.3), (0, 0.08)),
    ("concave points", (0, 1), (0, 0.15), (0, 0.03)),
    ("symmetry", (0, 1), (0.1, 0.3), (0, 0.05)),
    ("fractal dimension", (0, 1), (0.05, 0.09), (0, 0.01)),
)
WORST: Final = 1.25
"""How much larger than the mean the mean of a sample's three largest nuclei typically is."""

SCHEMA: Final = Schema(
    columns=(
        *(Number(f"mean {name}", valid, typical) for name, valid, typical, _ in _SIZES),
        *(Number(f"{name} error", valid, error) for name, valid, _, error in _SIZES),
        *(
            Number(f"worst {name}", valid, (typical[0] * WORST, typical[1] * WORST))
            for name, valid, typical, _ in _SIZES
        ),
    ),
    label="class",
    classes=("benign", "malignant"),
)


@dataclass(frozen=True, slots=True)
class Division:
    """Row numbers of the public pool and of every hospital's training and test rows."""

    pool: npt.NDArray[np.int64]
    train: Mapping[str, npt.NDArray[np.int64]]
    test: Mapping[str, npt.NDArray[np.int64]]


class Hospitals:
    """Breast cancer at a county, a referral, a screening and a university hospital.

    Parameters
    ----------
    declared_sizes
        Public, rounded number of training rows of each hospital.
    """

    inputs = (SCHEMA.width,)
    groups = SCHEMA.groups
    columns = tuple(column.name for column in SCHEMA.columns)

    def __init__(self, declared_sizes: Mapping[str, int] = DECLARED_SIZES) -> None:
        if unknown := sorted(set(declared_sizes) - set(DECLARED_SIZES)):
            raise ConfigurationError(
                f"domain.declared_sizes: no such hospital: {', '.join(unknown)}; "
                f"there are {', '.join(DECLARED_SIZES)}"
            )
        self.declared_sizes = dict(sorted(declared_sizes.items()))

    @property
    def card(self) -> Card:
        """What a person is told."""
        return Card(
            name="hospitals",
            title="Breast cancer at four hospitals",
            description=(
                "Malignant or benign, from thirty measurements of cell nuclei (Wisconsin "
                "diagnostic breast cancer, a real data set that comes with scikit-learn). The "
                "rows are real; that they lie at four hospitals is ours."
            ),
            classes=SCHEMA.classes,
            metric=Metric.ACCURACY,
            unit_protected="one row, which is one patient's sample",
            not_protected=(
                "a patient who has rows at several hospitals: their guarantees compose",
                "the number of rows: the declared sizes are public",
            ),
            public_pool=(
                f"{len(_division().pool)} unlabelled rows, public by assumption, disjoint "
                "from all training and test rows; the shared model and every baseline start from "
                "what was learnt on them"
            ),
        )

    def load(self) -> Mapping[str, SiteData]:
        """Divide the rows among the hospitals."""
        table, targets = _rows()
        features = torch.from_numpy(SCHEMA.encode(table))
        labels = torch.from_numpy(targets)
        division = _division()
        return {
            site: SiteData(
                Examples(features[division.train[site]], labels[division.train[site]]),
                Examples(features[division.test[site]], labels[division.test[site]]),
            )
            for site in self.declared_sizes
        }

    def public_pool(self) -> torch.Tensor | None:
        """Features [n, 30] of the rows that are public by assumption; their labels are unused."""
        table, _ = _rows()
        return torch.from_numpy(SCHEMA.encode(table))[_division().pool]

    def read_unlabelled(self, path: Path, column: str | None = None) -> Unlabelled:
        """Read a table with the thirty columns, by scikit-learn's names of them."""
        no_column(path, column)
        return table_rows(path, SCHEMA)


@cache
def _rows() -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    loaded = load_breast_cancer(as_frame=True)
    table = loaded.frame.rename(columns={"target": SCHEMA.label})
    table.index = pd.RangeIndex(1, len(table) + 1)
    numbers = SCHEMA.read(table.astype(str), "scikit-learn's breast cancer table", (0, 1))
    # scikit-learn codes malignant as 0.
    return numbers, (numbers[SCHEMA.label] == 0).to_numpy().astype(np.int64)


@cache
def _division() -> Division:
    return divide(*_rows())


def divide(table: pd.DataFrame, targets: npt.NDArray[np.int64]) -> Division:
    """Divide rows by a hash of their number: first test, pool or training, then the hospital."""
    sites = sorted(MALIGNANT_SHARE)
    pool: list[int] = []
    train: dict[str, list[int]] = {site: [] for site in sites}
    test: dict[str, list[int]] = {site: [] for site in sites}
    for row in range(len(table)):
        part, place = _hash_to_unit("part", row), _hash_to_unit("place", row)
        share = MALIGNANT_SHARE if targets[row] == 1 else BENIGN_SHARE
        edges = np.cumsum([share[site] for site in sites])
        site = sites[min(int(np.searchsorted(edges, place, side="right")), len(sites) - 1)]
        if part < TEST_SHARE:
            test[site].append(row)
        elif part < TEST_SHARE + POOL_SHARE * (1 - TEST_SHARE):
            pool.append(row)
        else:
            train[site].append(row)
    return Division(
        np.array(pool),
        {site: np.array(rows) for site, rows in train.items()},
        {site: np.array(rows) for site, rows in test.items()},
    )


def _hash_to_unit(purpose: str, row: int) -> float:
    digest = hashlib.sha256(f"{SALT}/{purpose}/{row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
