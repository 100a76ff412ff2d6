"""A schema of public knowledge: which columns a table has, and which values they may hold.

Features are scaled by the schema alone, never by statistics of anybody's rows, so scaling costs
no privacy. A schema has two ranges for a number: `valid`, outside of which a value is an error,
and `typical`, which is mapped to [-1, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tacit.errors import DataError


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
        A code that stands for 'not measured', or None where every row has a value. A column with
        a code gets a second feature that is 1 where the value is missing.
    """

    name: str
    valid: tuple[float, float]
    typical: tuple[float, float]
    missing: float | None = None

    @property
    def width(self) -> int:
        """Number of features that this column becomes."""
        return 1 if self.missing is None else 2

    def allows(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Tell which values [n] the schema admits."""
        inside = (values >= self.valid[0]) & (values <= self.valid[1])
        return inside if self.missing is None else inside | (values == self.missing)

    def expected(self) -> str:
        """What the schema admits, in words."""
        code = "" if self.missing is None else f", or {self.missing:g} for missing"
        return f"a number from {self.valid[0]:g} to {self.valid[1]:g}{code}"

    def encode(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Scale values [n] to features [n, width]; values outside `valid` are clamped to it."""
        middle = (self.typical[0] + self.typical[1]) / 2
        half = (self.typical[1] - self.typical[0]) / 2
        scaled = (np.clip(values, *self.valid) - middle) / half
        if self.missing is None:
            return scaled[:, None]
        gone = values == self.missing
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

    def allows(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Tell which values [n] the schema admits."""
        return np.isin(values, self.codes)

    def expected(self) -> str:
        """What the schema admits, in words."""
        return "one of " + ", ".join(f"{code:g}" for code in self.codes)

    def encode(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn codes [n] into features [n, width]; a code outside the schema becomes all zeros."""
        if len(self.codes) == 2:
            low, high = self.codes
            return np.where(values == high, 0.5, np.where(values == low, -0.5, 0.0))[:, None]
        return np.stack([np.where(values == code, 1.0, 0.0) for code in self.codes], axis=1)


Column = Number | Category


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
            parsed = pd.to_numeric(table[column.name], errors="coerce").astype(np.float64)
            refused = ~column.allows(np.asarray(parsed, dtype=np.float64))
            if refused.any():
                first = int(refused.argmax())
                raise DataError(
                    f"{source}: row {table.index[first]}, column {column.name!r}: value "
                    f"{str(table[column.name].iloc[first])!r} is not {column.expected()}"
                )
            numbers[column.name] = parsed
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
