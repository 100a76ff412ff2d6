"""The four hospitals of UCI Heart Disease, with FLamby's columns, rows and split.

FLamby (du Terrail et al. 2022, arXiv 2210.04620, Fed-Heart-Disease) drops the columns slope, ca and
thal, then every row with a missing value, and splits each hospital 66 to 34 with seed 43,
stratified where both classes have more than two rows. Unlike FLamby, features are scaled by the
schema below and not by statistics of the patients.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split

from tacit.domains.domain import Card, Examples, Metric, SiteData
from tacit.domains.schema import Category, Number, Schema
from tacit.domains.unlabelled import Unlabelled, no_column, table_rows
from tacit.errors import ConfigurationError, DataError

FILE_COLUMNS: Final = (
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg"),
    *("thalach", "exang", "oldpeak", "slope", "ca", "thal", "num"),
)
DROPPED: Final = ("slope", "ca", "thal")
LABEL_CODES: Final = (0, 1, 2, 3, 4)
DECLARED_SIZES: Final = MappingProxyType(
    {"cleveland": 200, "hungarian": 170, "switzerland": 30, "va": 85}
)

# Codes and units are those of the data set's own documentation (heart-disease.names). `valid` is
# what an adult patient can have. `typical` comes from general medical knowledge: adults in
# cardiology; systolic pressure from ideal to stage 2 hypertension; total cholesterol about the
# 200 and 240 mg/dl marks of NCEP ATP III; maximum heart rate about 220 minus age; ST depression
# about the 1 mm that counts as a positive test. A pressure or cholesterol of 0 cannot be measured
# in a living person: it stands for 'missing'.
SCHEMA: Final = Schema(
    columns=(
        Number("age", valid=(18, 110), typical=(35, 75)),
        Category("sex", (0, 1)),
        Category("cp", (1, 2, 3, 4)),
        Number("trestbps", valid=(50, 300), typical=(100, 160), missing=0),
        Number("chol", valid=(50, 700), typical=(150, 300), missing=0),
        Category("fbs", (0, 1)),
        Category("restecg", (0, 1, 2)),
        Number("thalach", valid=(40, 250), typical=(100, 180)),
        Category("exang", (0, 1)),
        Number("oldpeak", valid=(-5, 10), typical=(0, 2)),
    ),
    label="num",
    classes=("no disease", "disease"),
)


class HeartDisease:
    """UCI Heart Disease: Cleveland, Hungary, Switzerland and the V.A. in Long Beach.

    Parameters
    ----------
    root
        Folder with ``processed.SITE.data`` for each site.
    declared_sizes
        Public, rounded number of training rows of each site.
    """

    inputs = (SCHEMA.width,)
    groups = SCHEMA.groups

    def __init__(self, root: str, declared_sizes: Mapping[str, int] = DECLARED_SIZES) -> None:
        if unknown := sorted(set(declared_sizes) - set(DECLARED_SIZES)):
            raise ConfigurationError(
                f"domain.declared_sizes: no such hospital: {', '.join(unknown)}; "
                f"there are {', '.join(DECLARED_SIZES)}"
            )
        self.root = Path(root)
        self.declared_sizes = dict(sorted(declared_sizes.items()))

    @property
    def card(self) -> Card:
        """What a person is told."""
        return Card(
            name="heart_disease",
            title="Heart disease at four hospitals",
            description=(
                "Coronary disease (more than 50 % narrowing of a vessel) from ten examinations of "
                "patients in Cleveland, Budapest, Zurich and Basel, and Long Beach; FLamby's rows "
                "and split. Investigators: A. Janosi, W. Steinbrunn, M. Pfisterer, R. Detrano."
            ),
            classes=SCHEMA.classes,
            metric=Metric.ACCURACY,
            unit_protected="one row, which is one patient's examination",
            not_protected=(
                "a patient who has rows at several hospitals: their guarantees compose",
                "the number of rows: the declared sizes are public",
            ),
        )

    def load(self) -> Mapping[str, SiteData]:
        """Read and check each hospital's file."""
        return {site: self.load_site(site) for site in self.declared_sizes}

    def public_pool(self) -> torch.Tensor | None:
        """There is no public share: training starts from zero weights."""
        return None

    def load_site(self, site: str) -> SiteData:
        """Read and check one hospital's file; no other is looked at."""
        path = self.root / f"processed.{site}.data"
        table = _complete_rows(path)
        numbers = SCHEMA.read(table, str(path), LABEL_CODES)
        features = torch.from_numpy(SCHEMA.encode(numbers))
        targets = torch.from_numpy((numbers["num"] > 0).to_numpy().astype(np.int64))
        train, test = flamby_split(targets.numpy(), site)
        return SiteData(
            Examples(features[train], targets[train]), Examples(features[test], targets[test])
        )

    def read_unlabelled(self, path: Path, column: str | None = None) -> Unlabelled:
        """Read a table with a header and the ten columns, by the names of the documentation."""
        no_column(path, column)
        return table_rows(path, SCHEMA)


def _complete_rows(path: Path) -> pd.DataFrame:
    """Read a file as strings and keep FLamby's columns and rows; the index is the line number."""
    if not path.is_file():
        raise DataError(
            f"{path}: there is no such file; domain.root must be the folder that holds "
            f"processed.cleveland.data and its three siblings"
        )
    try:
        raw = pd.read_csv(
            path,
            header=None,
            dtype=str,
            skipinitialspace=True,
            index_col=False,
            skip_blank_lines=False,
            keep_default_na=False,  # an empty cell is shown as it stands in the file
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a table of comma-separated values: {error}") from error
    if raw.shape[1] != len(FILE_COLUMNS):
        raise DataError(f"{path}: has {raw.shape[1]} columns where {len(FILE_COLUMNS)} are needed")
    raw.columns = pd.Index(FILE_COLUMNS)
    raw.index = pd.RangeIndex(1, len(raw) + 1)
    kept = raw.drop(columns=list(DROPPED))
    return kept[(kept != "?").all(axis=1)]


def flamby_split(targets: np.ndarray, site: str) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of FLamby's training and test rows for class indices [n]."""
    counts = np.bincount(targets, minlength=2)
    if counts.sum() < 3:
        raise DataError(f"site {site!r} has {counts.sum()} complete rows: too few to split")
    train, test = train_test_split(
        np.arange(len(targets)),
        test_size=1 - 0.66,
        train_size=0.66,
        random_state=43,
        shuffle=True,
        stratify=targets if (counts > 2).all() else None,
    )
    return train, test
