"""Rows of a file that nobody has labelled, as examples: what a finished model is asked about.

A domain that can read some has a method `read_unlabelled`; what is here serves those that do.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, cast

import pandas as pd
import torch

from tacit.domains.domain import Domain
from tacit.domains.schema import Schema, read_column
from tacit.domains.texts import texts_to_bytes
from tacit.errors import ConfigurationError, DataError

TEXT: Final = "text"
"""Column of texts in a table, unless somebody names another."""


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Rows without labels.

    Parameters
    ----------
    rows
        What a person calls each: of a table or a text its number in the file, as messages have it
        (in a CSV the header is row 1); of an image the name of its file.
    features
        Examples [n, ...] as the domain makes them.
    """

    rows: tuple[str, ...]
    features: torch.Tensor


class ReadsUnlabelled(Protocol):
    """A domain that can read rows without labels: it has this method beside those of `Domain`."""

    def read_unlabelled(self, path: Path, column: str | None = None) -> Unlabelled:
        """Read a file or a folder.

        Parameters
        ----------
        path
            What there is to read.
        column
            Where the examples stand in it, where that is to be said.

        Raises
        ------
        DataError
            It cannot be used; names file, row, column and value.
        """
        ...


def read_unlabelled(domain: Domain, path: Path, column: str | None = None) -> Unlabelled:
    """Read rows without labels as a domain reads them.

    Raises
    ------
    ConfigurationError
        The domain does not say how.
    DataError
        There is nothing there, or it cannot be used; names file, row, column and value.
    """
    if not hasattr(domain, "read_unlabelled"):
        raise ConfigurationError(
            f"domain {domain.card.name} does not say how rows without labels are read from a file: "
            "its class needs a method read_unlabelled (tacit.domains.unlabelled); tacit-export "
            "writes the model for use elsewhere"
        )
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    found = cast(ReadsUnlabelled, domain).read_unlabelled(path, column)
    if not found.rows:
        raise DataError(f"{path}: holds no rows")
    if (shape := tuple(found.features.shape[1:])) != tuple(domain.inputs):
        raise DataError(f"{path}: examples of {list(shape)}, and {list(domain.inputs)} are needed")
    return found


def no_column(path: Path, column: str | None) -> None:
    """Refuse a name of a column where there is nothing to name.

    Raises
    ------
    ConfigurationError
        One is given.
    """
    if column is not None:
        raise ConfigurationError(f"--column={column}: {path} has no column to choose: leave it out")


def table_rows(path: Path, schema: Schema) -> Unlabelled:
    """Read a table (CSV, Parquet or JSON lines) that has the columns of a schema, in any order.

    Raises
    ------
    DataError
        It cannot be read, lacks a column, or a cell is not what the schema admits.
    """
    from tacit.domains.own.content import Rows
    from tacit.domains.own.files import read_table
    from tacit.domains.own.held import check_columns

    names = [column.name for column in schema.columns]
    table = read_table(path, names)
    check_columns(Rows(str(path), table), names)
    numbers = pd.DataFrame(index=table.index)
    for column in schema.columns:
        numbers[column.name] = read_column(column, table, str(path))
    return Unlabelled(tuple(map(str, table.index)), torch.from_numpy(schema.encode(numbers)))


def text_rows(path: Path, column: str | None, length: int) -> Unlabelled:
    """Read texts: a line each of a .txt, else a column of a table (CSV, Parquet or JSON lines).

    Parameters
    ----------
    path
        The file. Empty lines of a .txt are left out.
    column
        Of a table; None for `TEXT`.
    length
        Bytes of each that are kept.

    Raises
    ------
    DataError
        It cannot be read, or has no such column.
    """
    from tacit.domains.own.content import Rows
    from tacit.domains.own.files import read_table
    from tacit.domains.own.held import check_columns

    if path.suffix.lower() == ".txt":
        no_column(path, column)
        lines = {str(n): line.strip() for n, line in enumerate(_text(path).split("\n"), 1)}
        texts = {row: line for row, line in lines.items() if line}
    else:
        name = column or TEXT
        table = read_table(path, [name])
        check_columns(Rows(str(path), table), [name])
        texts = dict(zip(map(str, table.index), table[name], strict=True))
    return Unlabelled(tuple(texts), texts_to_bytes(list(texts.values()), length))


def image_rows(path: Path, *, size: tuple[int, int], grey: bool, resize: bool) -> Unlabelled:
    """Read one image, or all below a folder in the order of their paths.

    Files and folders whose name begins with a dot are left out.

    Parameters
    ----------
    path
        A file or a folder.
    size
        Height and width.
    grey
        Whether an image becomes grey, else RGB.
    resize
        Whether an image of another size is resized; otherwise it is an error.

    Raises
    ------
    DataError
        A file is no image that can be used; names it.
    """
    from tacit.domains.own.content import Rows
    from tacit.domains.own.files import IMAGE
    from tacit.domains.own.images import Images
    from tacit.domains.own.schema_parts import Colour, ImageSpec
    from tacit.domains.schema import stop

    folder = path if path.is_dir() else path.parent
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    below = [file.relative_to(folder) for file in found if file.is_file()]
    names = [each.as_posix() for each in below if not any(p.startswith(".") for p in each.parts)]
    table = pd.DataFrame({IMAGE: names}, index=pd.Index(names, dtype=object), dtype=object)
    images = Images(ImageSpec(size, Colour.GREY if grey else Colour.RGB, resize))
    return Unlabelled(tuple(names), images.read(Rows(str(path), table, folder), stop))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text in UTF-8: save it as UTF-8") from error
