"""A partition by what the rows say themselves: those with one value of a column make a site."""

import re
from typing import Final

import numpy as np

from tacit.domains.partition import LABEL, Parts, Table, parts_of
from tacit.errors import ConfigurationError

_VALUE: Final = re.compile(r"[\w.-]+")
"""What may become part of a site's name, which also names files."""


class Column:
    """Rows with the same value of a column make a site: a writer's, a machine's, a label's.

    How many sites there are, and how large, follows from the data, so that nothing is drawn.

    Parameters
    ----------
    column
        One of the domain's columns, of whole numbers or of text.
    """

    def __init__(self, column: str = LABEL) -> None:
        self.column = column

    def divide(self, table: Table) -> Parts:
        """Gather the rows of each value; a site is named COLUMN-VALUE."""
        values = table.column(self.column)
        if values.dtype.kind not in "iuUO":
            raise ConfigurationError(
                f"domain.partition.column={self.column} holds values of the type {values.dtype}: "
                f"only whole numbers and text can name sites"
            )
        found, codes = np.unique(values, return_inverse=True)
        # Equal widths, so that the order of names is that of numbers.
        width = max((len(str(value)) for value in found), default=0)
        numbers = values.dtype.kind in "iu"
        names = [
            f"{self.column}-{value:0{width}d}" if numbers else f"{self.column}-{value}"
            for value in found.tolist()
        ]
        for value in found.tolist():
            if not _VALUE.fullmatch(str(value)):
                raise ConfigurationError(
                    f"domain.partition.column={self.column}: {value!r} cannot name a site: use "
                    f"letters, digits, dots, dashes and underscores alone"
                )
        order = sorted(range(len(names)), key=names.__getitem__)
        place = np.empty(len(names), np.int64)
        place[order] = np.arange(len(names))
        return parts_of(
            place[codes],
            np.arange(table.rows),
            table.rows,
            len(names),
            tuple(names[number] for number in order),
        )
