"""Reading files as tables of text: CSV, Parquet, JSON lines, and folders of images.

A table's index holds what names a row in a message. It is the row's number: in a CSV as a
spreadsheet shows it, with the header as row 1; in JSON lines the line; in Parquet from 1 on. Of an
image in a folder it is the path. Cells are text as it stands in the file, and empty where nothing
stands.
"""

import csv
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import pandas as pd

from tacit.domains.own.arrow import arrow_names, read_parquet
from tacit.domains.schema import Say, stop
from tacit.errors import DataError

TABLES: Final = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson")
"""How the names of tables end."""
DELIMITERS: Final = ",;\t|"

IMAGE, FOLDER, SITE_FOLDER = "image", "class folder", "site folder"
"""Columns of a table of images that lie in folders."""

_PARQUET: Final = (".parquet", ".pq")
_LINES: Final = (".jsonl", ".ndjson")


def read_table(path: Path, wanted: Collection[str], delimiter: str = ",") -> pd.DataFrame:
    """Read a file as a table of text.

    Parameters
    ----------
    path
        Its name's end says what it is, one of `TABLES`.
    wanted
        Columns that must hold single values; others that hold lists, say, are empty.
    delimiter
        Between the cells of a CSV; that of a .tsv is the tabulator.

    Raises
    ------
    DataError
        The file is not there, or no such table; names file and row.
    """
    form = _form(path)
    if form in _PARQUET:
        table = read_parquet(path, wanted)
    elif form in _LINES:
        table = _read_lines(path, wanted)
    else:
        table = _read_csv(path, _delimiter(path, delimiter))
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()][0]
        raise DataError(f"{path}: two columns are called {twice!r}: rename one")
    if table.empty:
        raise DataError(f"{path}: holds no rows")
    return table


def names_of_columns(path: Path) -> tuple[list[str], str]:
    """Read the names of a table's columns and nothing beyond them.

    Returns
    -------
    names : list of str
        In their order; of JSON lines, those of the first.
    delimiter
        Of a CSV, which is told from its header; a comma of others.

    Raises
    ------
    DataError
        The file is not there, or has no names.
    """
    form, delimiter = _form(path), ","
    if form in _PARQUET:
        names = arrow_names(path)
    elif form in _LINES:
        names = list(_object(path, 1, _first_line(path)))
    else:
        header = _first_line(path)
        delimiter = max(_delimiter(path, DELIMITERS), key=header.count)
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if not any(names):
        raise DataError(f"{path}: its first row holds no names of columns")
    return names, delimiter


def read_folders(root: Path, *, sites: bool, say: Say = stop) -> pd.DataFrame:
    """List the images of ROOT/CLASS or, with `sites`, of ROOT/SITE/CLASS, in the order of paths.

    Files and folders whose name begins with a dot are left out.

    Parameters
    ----------
    root
        The folder.
    sites
        Whether its folders are those of sites.
    say
        Is told of a file that does not lie as deep as images do.

    Returns
    -------
    DataFrame
        Columns `IMAGE` (the path below root), `FOLDER` and, with `sites`, `SITE_FOLDER`.

    Raises
    ------
    DataError
        There is no such folder, or nothing in it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder")
    form = ("SITE", "CLASS", "IMAGE") if sites else ("CLASS", "IMAGE")
    found = []
    for path in sorted(_files_below(root)):
        parts = path.relative_to(root).parts
        if len(parts) == len(form):
            found.append(("/".join(parts), parts[-2], parts[0]))
        else:
            say(f"{root}: {'/'.join(parts)} does not lie where images do: {'/'.join(form)}")
    if not found:
        raise DataError(f"{root}: holds no {'/'.join(form)}")
    table = pd.DataFrame(found, columns=[IMAGE, FOLDER, SITE_FOLDER], dtype=object)
    table.index = pd.Index(table[IMAGE])
    return table if sites else table.drop(columns=SITE_FOLDER)


def _files_below(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        yield from (Path(folder) / name for name in files if not name.startswith("."))


def _delimiter(path: Path, delimiter: str) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else delimiter


def _form(path: Path) -> str:
    form = path.suffix.lower()
    if form not in TABLES:
        raise DataError(f"{path}: what is it? its name must end with {', '.join(TABLES)}")
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder' if path.is_dir() else 'there is no such file'}")
    return form


def _first_line(path: Path) -> str:
    """Read a file's first line: what comes after it need not even be text."""
    with path.open("rb") as file:
        line = file.readline()
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text in UTF-8: save it as UTF-8") from error


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Open a text file, with or without a byte order mark."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text in UTF-8: save it as UTF-8") from error


def _read_csv(path: Path, delimiter: str) -> pd.DataFrame:
    try:
        with _opened(path) as file:
            # The header is read as a row: pandas would take what is beyond it for row labels.
            raw = pd.read_csv(
                file,
                sep=delimiter,
                header=None,
                dtype=object,
                skipinitialspace=True,
                skip_blank_lines=False,
                na_filter=False,
            )
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path}: begins with no names of columns") from error
    except (pd.errors.ParserError, ValueError) as error:
        said = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise DataError(
            f"{path}: is not a table below one header: {said}; is {delimiter!r} the delimiter, and "
            "do cells that hold it stand in quotation marks?"
        ) from error
    raw.index = pd.RangeIndex(1, len(raw) + 1)
    raw.columns = pd.Index([str(name).strip() for name in raw.iloc[0]])
    # A line without anything is no row. Cells beyond the end of a row are empty.
    return raw[(raw != "").any(axis=1)].iloc[1:]


def _read_lines(path: Path, wanted: Collection[str]) -> pd.DataFrame:
    rows = {
        number: {key: _cell(path, number, key, found[key], wanted) for key in found}
        for number, found in _objects(path)
    }
    table = pd.DataFrame(list(rows.values()), index=pd.Index(list(rows)), dtype=object)
    return table.where(table.notna(), "")


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _object(path, number, line)


def _object(path: Path, row: int, line: str) -> dict[str, Any]:
    """Read a line of JSON; numbers stay the text that they are."""
    try:
        found = json.loads(line.strip(), parse_int=str, parse_float=str, parse_constant=str)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: row {row}: is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: row {row}: must be an object of names and values")
    return found


def _cell(path: Path, row: int, column: str, value: object, wanted: Collection[str]) -> str:
    if isinstance(value, dict | list):
        if column not in wanted:
            return ""
        raise DataError(
            f"{path}: row {row}, column {column!r}: holds a list or an object; one value is needed"
        )
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
