"""Files of NASA's C-MAPSS turbofan data: engines of a simulator, run until they fail.

Saxena, Goebel, Simon and Eklund 2008 ("Damage propagation modeling for aircraft engine
run-to-failure simulation", PHM08). A file has a line for each cycle of each engine: number of the
engine and of the cycle, three settings, 21 sensors, with blanks between them and no header.
"""

import gzip
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tacit.domains.schema import Number, read_column
from tacit.errors import DataError

Array = npt.NDArray[np.float64]

# Names and units as in table 2 of Saxena et al. 2008. The ranges are ours: what such an engine can
# have at any altitude, and wide, for they only find what is no measurement.
COLUMNS: Final = tuple(
    Number(name, valid, valid)
    for name, valid in (
        ("engine", (1, 1000)),
        ("cycle", (1, 10000)),
        ("altitude (1000 ft)", (-1, 60)),
        ("Mach number", (-0.1, 2)),
        ("throttle resolver angle", (0, 110)),
        ("T2 (°R)", (300, 700)),
        ("T24 (°R)", (300, 1000)),
        ("T30 (°R)", (500, 3000)),
        ("T50 (°R)", (500, 3000)),
        ("P2 (psia)", (0, 50)),
        ("P15 (psia)", (0, 100)),
        ("P30 (psia)", (0, 2000)),
        ("Nf (rpm)", (0, 10000)),
        ("Nc (rpm)", (0, 30000)),
        ("epr", (0, 10)),
        ("Ps30 (psia)", (0, 500)),
        ("phi (pps/psi)", (0, 2000)),
        ("NRf (rpm)", (0, 10000)),
        ("NRc (rpm)", (0, 30000)),
        ("BPR", (0, 50)),
        ("farB", (0, 1)),
        ("htBleed", (0, 1000)),
        ("Nf_dmd (rpm)", (0, 10000)),
        ("PCNfR_dmd (rpm)", (0, 1000)),
        ("W31 (lbm/s)", (0, 500)),
        ("W32 (lbm/s)", (0, 500)),
    )
)
SENSORS: Final = (
    *("T24 (°R)", "T30 (°R)", "T50 (°R)", "P30 (psia)", "Nf (rpm)", "Nc (rpm)", "Ps30 (psia)"),
    *("phi (pps/psi)", "NRf (rpm)", "NRc (rpm)", "BPR", "htBleed", "W31 (lbm/s)", "W32 (lbm/s)"),
)
"""The fourteen that do not follow from the settings alone: the other seven are constant under one
operating condition, or nearly (Li, Ding and Sun 2018, Reliab. Eng. Syst. Saf. 172, section 4.1)."""
PREFIX: Final = ".prefix.txt.gz"
"""How the name of a file ends that holds a part of the engines, the first ones, and says so."""
_PLACES: Final = [[column.name for column in COLUMNS].index(sensor) for sensor in SENSORS]


def find_file(root: Path, name: str, *, prefix: bool) -> Path:
    """Return ``NAME.txt`` in a folder or, where `prefix` allows it, its first part.

    Raises
    ------
    DataError
        There is no such file, or a part only; says which option takes it.
    """
    whole, part = root / f"{name}.txt", root / f"{name}{PREFIX}"
    if whole.is_file():
        return whole
    if not part.is_file():
        raise DataError(
            f"{whole}: there is no such file; domain.root must be the folder that holds the "
            "C-MAPSS files train_FD001.txt, test_FD001.txt, RUL_FD001.txt and train_FD003.txt"
        )
    if not prefix:
        raise DataError(
            f"{part}: holds the first engines only, and {whole.name} is not there: fetch the whole "
            "file, or set domain.prefix=true to go on with a part, whose figures are not those of "
            "the official set"
        )
    return part


def read_engines(path: Path) -> list[Array]:
    """Read the engines of a file, in the order of their numbers, which count from 1.

    Returns
    -------
    list of ndarray
        For each engine its cycles from the first on, [cycles, 3 settings and 14 `SENSORS`].

    Raises
    ------
    DataError
        Names file, row, column and value.
    """
    table = _table(path, len(COLUMNS))
    table.columns = pd.Index([column.name for column in COLUMNS])
    values = np.stack([read_column(column, table, str(path)) for column in COLUMNS], axis=1)
    engine, cycle = values[:, 0], values[:, 1]
    new = np.append(True, np.diff(engine) != 0)
    expected = np.where(new, 1, np.append(0, cycle[:-1]) + 1)
    _refuse(path, engine != np.cumsum(new), "engine", engine, "the next engine's number, from 1 on")
    _refuse(path, cycle != expected, "cycle", cycle, "the next cycle of its engine, from 1 on")
    kept = values[:, [2, 3, 4, *_PLACES]]
    return np.split(kept, np.flatnonzero(new)[1:])


def read_lives(path: Path) -> Array:
    """Read how many cycles each test engine has left after its last, [engines].

    Raises
    ------
    DataError
        Names file, row and value.
    """
    column = Number("remaining useful life", (0, 1000), (0, 1000))
    table = _table(path, 1)
    table.columns = pd.Index([column.name])
    return read_column(column, table, str(path))


def _table(path: Path, columns: int) -> pd.DataFrame:
    """Read lines of so many words as text; the index is the line number."""
    try:
        text = path.read_bytes()
        lines = (gzip.decompress(text) if path.suffix == ".gz" else text).decode("ascii")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as lines of text: {error}") from error
    rows = [line.split() for line in lines.splitlines()]
    if not rows:
        raise DataError(f"{path}: holds no rows")
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            raise DataError(
                f"{path}: row {number} has {len(row)} columns where {columns} are needed"
            )
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1), dtype=str)


def _refuse(
    path: Path, bad: npt.NDArray[np.bool_], column: str, values: Array, wanted: str
) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{path}: row {row + 1}, column {column!r}: value {values[row]:g} is not {wanted}"
        )
