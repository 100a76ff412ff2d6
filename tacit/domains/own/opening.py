"""From what a schema file calls a file to rows: a table, a folder of images, or a data set."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tacit.domains.own.content import Rows
from tacit.domains.own.files import read_folders, read_table
from tacit.domains.own.schema_file import HUB, SchemaFile
from tacit.domains.schema import Say

SAVED: Final = ("dataset_dict.json", "dataset_info.json")
"""What a folder holds that Hugging Face's datasets has saved."""

Opener = Callable[[SchemaFile, str, Say], Rows]
"""Reads a file of a schema file; `Say` is told of what is wrong with single rows."""


def opened(schema: SchemaFile, file: str, say: Say) -> Rows:
    """Read a file by what it is.

    Raises
    ------
    DataError
        It is not there, or is none of these.
    ConfigurationError
        It needs a library that is not installed.
    """
    path = Path(file)
    if file.startswith(HUB) or any((path / name).is_file() for name in SAVED):
        from tacit.domains.own.huggingface import from_datasets

        return from_datasets(schema, file, say)
    if schema.in_folders:
        shared = schema.sites is not None and not schema.file_each
        return Rows(file, read_folders(path, sites=shared, say=say), path)
    return Rows(file, read_table(path, schema.columns, schema.about.delimiter), path.parent)
