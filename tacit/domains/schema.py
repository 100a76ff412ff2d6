"""A schema of public knowledge: which columns a table has, and which values they may hold.

Features are scaled by the schema alone, never by statistics of anybody's rows, so scaling costs
no privacy. A schema has two ranges for a number: `valid`, outside of which a value is an error,
and `typical`, which is mapped to [-1, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from tacit.errors import DataError

Values = npt.NDArray[np.float64]

Say = Callable[[str], object]
"""Is told what is wrong with data: `stop` ends there, a check goes on and gathers."""

NAMED: Final = 5
"""Bad values of one column that are named at most, so that one column does not hide another."""


def stop(problem: str) -> NoReturn:
    """Raise the first problem as a `DataError`."""
    raise DataError(problem)


class Column(Protocol):
    """A column of a table: which cells it may hold, and what they become."""

    @property
    def name(self) -> str:
        """Name in the table."""
        ...

    @property
    def width(self) -> int:
        """Number of features that this column becomes."""
        ...

    def parse(self, cells: pd.Series) -> Values:
        """Turn cells [n] of text into numbers [n]; NaN where that cannot be."""
        ...

    def allows(self, values: Values) -> npt.NDArray[np.bool_]:
        """Tell which numbers [n] the schema admits."""
        ...

    def expected(self) -> str:
        """What the schema admits, in words."""
        ...

    def encode(self, values: Values) -> Values:
        """Turn numbers [n] into features [n, width], bounded whatever the numbers are."""
        ...


def read_column(
    column: Column,
    table: pd.DataFrame,
    source: str,
    say: Say = stop,
    hint: Callable[[str], str] = lambda cell: "",
) -> Values:
    """Check every cell of a column of text.

    Parameters
    ----------
    column
        What the cells must be.
    table
        Has the column; its index holds row numbers of the file or, where rows are files, paths.
    source
        The file, for the message.
    say
        Is told file, row, column and value of a cell that the schema does not admit, so it is for
        the data owner's terminal only.
    hint
        Says what to do about a cell, for the message.

    Returns
    -------
    ndarray
        Numbers [n]; NaN where a cell was not admitted.
    """
    cells = table[column.name]
    values = column.parse(cells)
    refused = ~column.allows(values)
    if not refused.any():
        return values

    def wrong(cell: str) -> str:
        advice = hint(cell)
        return f"is not {column.expected()}{advice and f'; {advice}'}"

    name_cells(source, cells, refused, wrong, say)
    return np.where(refused, np.nan, values)


def name_cells(
    source: str,
    cells: pd.Series,
    which: npt.NDArray[np.bool_],
    wrong: Callable[[str], str],
    say: Say,
) -> None:
    """Tell of some cells what is wrong with them: of the first few by row, and how many more.

    Parameters
    ----------
    source
        The file.
    cells
        A column of text [n]; its name and index name places.
    which
        Those with something wrong [n].
    wrong
        Goes on from "value '…'" for a cell.
    say
        Is told.
    """
    rows = np.flatnonzero(which)
    for row in rows[:NAMED].tolist():
        cell = str(cells.iloc[row])
        say(
            f"{source}: {place(cells.index[row])}, column {str(cells.name)!r}: value {cell!r} "
            f"{wrong(cell)}"
        )
    if more := len(rows[NAMED:]):
        like = "row is like these" if more == 1 else "rows are like these"
        say(f"{source}: column {str(cells.name)!r}: {more:,} more {like}")


def place(row: object) -> str:
    """Say where a row is: by its number, or by the path of its file."""
    return str(row) if isinstance(row, str) else f"row {row}"


def _numbers(cells: pd.Series) -> Values:
    return np.asarray(pd.to_numeric(cells, errors="coerce"), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Number:
    """A column of numbers.

    Parameters
    ----------
    name
        The column's name.
    valid
        Lowest and highest value that can be right, in the column's unit.
    typical
        Interval of common values, from public knowledge; mapped to [-1, 1].
    missing
        A code that stands for 'not measured', or texts that do, or None where every row has a
        value. A column with a code gets a second feature that is 1 where the value is missing.
    """

    name: str
    valid: tuple[float, float]
    typical: tuple[float, float]
    missing: float | tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """Number of features that this column becomes."""
        return 1 if self.missing is None else 2

    @property
    def _gone(self) -> float | None:
        """What stands for 'not measured' among numbers; no valid number is infinite."""
        return np.inf if isinstance(self.missing, tuple) else self.missing

    def parse(self, cells: pd.Series) -> Values:
        """Turn cells [n] into numbers [n]; NaN where a cell is none."""
        numbers = _numbers(cells)
        if not isinstance(self.missing, tuple):
            return numbers
        # Only the texts stand for it, never a cell that says 'inf'.
        finite = np.where(np.isfinite(numbers), numbers, np.nan)
        return np.where(cells.isin(self.missing), np.inf, finite)

    def allows(self, values: Values) -> npt.NDArray[np.bool_]:
        """Tell which values [n] the schema admits."""
        inside = (values >= self.valid[0]) & (values <= self.valid[1])
        return inside if self.missing is None else inside | (values == self._gone)

    def expected(self) -> str:
        """What the schema admits, in words."""
        code = ""
        if isinstance(self.missing, tuple):
            code = f", or {' or '.join(map(repr, self.missing))} for missing"
        elif self.missing is not None:
            code = f", or {self.missing:g} for missing"
        return f"a number from {self.valid[0]:g} to {self.valid[1]:g}{code}"

    def encode(self, values: Values) -> Values:
        """Scale values [n] to features [n, width]; values outside `valid` are clamped to it."""
        middle = (self.typical[0] + self.typical[1]) / 2
        half = (self.typical[1] - self.typical[0]) / 2
        scaled = (np.clip(values, *self.valid) - middle) / half
        if self.missing is None:
            return scaled[:, None]
        gone = values == self._gone
        return np.stack([np.where(gone, 0.0, scaled), gone.astype(np.float64)], axis=1)


@dataclass(frozen=True, slots=True)
class Category:
    """A column of codes: two codes become one feature of ±½, more become one of 0 or 1 each."""

    name: str
    codes: tuple[float, ...]

    @property
    def width(self) -> int:
        """Number of features that this column becomes."""
        return 1 if len(self.codes) == 2 else len(self.codes)

    def parse(self, cells: pd.Series) -> Values:
        """Turn cells [n] into codes [n]; NaN where a cell is no number."""
        return _numbers(cells)

    def allows(self, values: Values) -> npt.NDArray[np.bool_]:
        """Tell which values [n] the schema admits."""
        return np.isin(values, self.codes)

    def expected(self) -> str:
        """What the schema admits, in words."""
        return "one of " + ", ".join(f"{code:g}" for code in self.codes)

    def encode(self, values: Values) -> Values:
        """Turn codes [n] into features [n, width]; a code outside the schema becomes all zeros."""
        if len(self.codes) == 2:
            low, high = self.codes
            return np.where(values == high, 0.5, np.where(values == low, -0.5, 0.0))[:, None]
        return np.stack([np.where(values == code, 1.0, 0.0) for code in self.codes], axis=1)


@dataclass(frozen=True, slots=True)
class Choice:
    """A column of codes that are text: as a `Category` of their places in `codes`, from 0 on."""

    name: str
    codes: tuple[str, ...]

    @property
    def width(self) -> int:
        """Number of features that this column becomes."""
        return self._places.width

    @property
    def _places(self) -> Category:
        return Category(self.name, tuple(map(float, range(len(self.codes)))))

    def parse(self, cells: pd.Series) -> Values:
        """Turn cells [n] into places [n]; NaN where a cell is none of the codes, to the letter."""
        places = {code: float(place) for place, code in enumerate(self.codes)}
        return np.asarray(cells.map(places), dtype=np.float64)

    def allows(self, values: Values) -> npt.NDArray[np.bool_]:
        """Tell which places [n] there are."""
        return self._places.allows(values)

    def expected(self) -> str:
        """What the schema admits, in words."""
        return "one of " + ", ".join(map(repr, self.codes))

    def encode(self, values: Values) -> Values:
        """Turn places [n] into features [n, width]; another number becomes all zeros."""
        return self._places.encode(values)


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table, its label column and the label's classes: none for a number."""

    columns: tuple[Column, ...]
    label: str
    classes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Number of features of one encoded row."""
        return sum(column.width for column in self.columns)

    @property
    def groups(self) -> tuple[slice, ...]:
        """Where each column's features lie in an encoded row."""
        ends = np.cumsum([column.width for column in self.columns]).tolist()
        return tuple(
            slice(end - column.width, end) for end, column in zip(ends, self.columns, strict=True)
        )

    def read(self, table: pd.DataFrame, source: str, labels: Sequence[float]) -> pd.DataFrame:
        """Check every cell of a table of strings and return it as numbers.

        Parameters
        ----------
        table
            One column per schema column plus the label; its index holds the row numbers of the
            file, counted from 1.
        source
            The file, for the message.
        labels
            The raw label codes that are allowed.

        Raises
        ------
        DataError
            A cell is not a number, or the schema does not admit it; names file, row, column and
            value, so it is for the data owner's terminal only.
        """
        numbers = pd.DataFrame(index=table.index)
        checks: list[Column] = [*self.columns, Category(self.label, tuple(labels))]
        for column in checks:
            if column.name not in table:
                raise DataError(f"{source}: column {column.name!r} is missing")
            numbers[column.name] = read_column(column, table, source)
        return numbers

    def encode(self, table: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Encode rows as features [n, width], bounded by the schema whatever the table holds.

        A NaN, which `read` refuses, stays NaN in a column of numbers: training gives such a row a
        gradient of zero.
        """
        features = [
            column.encode(table[column.name].to_numpy(np.float64)) for column in self.columns
        ]
        return np.concatenate(features, axis=1).astype(np.float32)
