"""What a model sees of a row: columns of a table, an image, or a text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pandas as pd
import torch

from tacit.domains.own.schema_file import SchemaFile
from tacit.domains.own.schema_parts import Feature, ImageSpec, TextSpec
from tacit.domains.own.schema_values import Codes
from tacit.domains.schema import (
    Category,
    Choice,
    Column,
    Number,
    Say,
    Schema,
    name_cells,
    read_column,
)
from tacit.domains.texts import texts_to_bytes

_BLANK: Final = "is no text: write what it says, or take the row out"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a file.

    Parameters
    ----------
    source
        The file, for messages.
    table
        Its cells as text; its index names the rows in messages. A cell of an image may be bytes.
    folder
        From which paths in the table count.
    """

    source: str
    table: pd.DataFrame
    folder: Path = Path()


class Content(Protocol):
    """What a model sees of a row."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one example."""
        ...

    @property
    def groups(self) -> tuple[slice, ...]:
        """Which features belong to one column of a table; none of others."""
        ...

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that are read; of a table, one for each of `groups`."""
        ...

    def read(self, rows: Rows, say: Say) -> torch.Tensor:
        """Return examples [n, ...]; `say` is told of what is wrong with a row."""
        ...


def content_of(schema: SchemaFile) -> Content:
    """Return what a model sees by a schema file."""
    match schema.content:
        case ImageSpec():
            from tacit.domains.own.images import Images

            return Images(schema.content)
        case TextSpec():
            return Texts(schema.content)
        case features:
            return Columns(features)


def column_of(name: str, codes: Codes) -> Column:
    """Return a column of codes: numbers are compared as numbers, text to the letter."""
    texts = tuple(code for code in codes if isinstance(code, str))
    if texts:
        return Choice(name, texts)
    return Category(name, tuple(code for code in codes if not isinstance(code, str)))


class Columns:
    """Columns of a table, scaled by public ranges: float32 [n, width].

    Parameters
    ----------
    features
        What each may hold, in the order of the features.
    """

    def __init__(self, features: Mapping[str, Feature]) -> None:
        self._schema = Schema(tuple(_column(*each) for each in features.items()), label="")
        self.inputs = (self._schema.width,)
        self.groups = self._schema.groups
        self.needed = tuple(features)

    def read(self, rows: Rows, say: Say) -> torch.Tensor:
        """Return features [n, width]."""
        read = {
            column.name: read_column(column, rows.table, rows.source, say, _hint(column))
            for column in self._schema.columns
        }
        return torch.from_numpy(self._schema.encode(pd.DataFrame(read, dtype=np.float64)))


class Texts:
    """Texts as bytes: uint8 [n, length].

    Parameters
    ----------
    spec
        Where they stand, and how many bytes are kept.
    """

    groups: tuple[slice, ...] = ()

    def __init__(self, spec: TextSpec) -> None:
        self._spec = spec
        self.inputs = (spec.length,)
        self.needed = (spec.column,)

    def read(self, rows: Rows, say: Say) -> torch.Tensor:
        """Return bytes [n, length]; a text that is longer is cut, and one without any is wrong."""
        cells = rows.table[self._spec.column].astype(str)
        blank = (cells.str.strip() == "").to_numpy()
        name_cells(rows.source, cells, blank, lambda cell: _BLANK, say)
        return texts_to_bytes(rows.table[self._spec.column].tolist(), self._spec.length)


def _column(name: str, feature: Feature) -> Column:
    if feature.number is None:
        return column_of(name, feature.codes or ())
    return Number(name, feature.number, feature.typical or feature.number, feature.missing)


def _hint(column: Column) -> Callable[[str], str]:
    def hint(cell: str) -> str:
        if cell == "" and isinstance(column, Number):
            return f"where cells may be empty, write missing: '' for features.{column.name}"
        return f"correct the cell, or features.{column.name} in the schema"

    return hint
