"""Rows without labels of somebody's own data, as their schema file says what examples are."""

from pathlib import Path

import torch

from tacit.domains.own.content import Content, Rows
from tacit.domains.own.files import TABLES, read_table
from tacit.domains.own.held import check_columns
from tacit.domains.own.schema_file import SchemaFile
from tacit.domains.own.schema_parts import Colour, ImageSpec, TextSpec
from tacit.domains.schema import stop
from tacit.domains.unlabelled import Unlabelled, image_rows, no_column, text_rows


def own_rows(schema: SchemaFile, content: Content, path: Path, column: str | None) -> Unlabelled:
    """Read a file or a folder by what a schema file says that examples are.

    Parameters
    ----------
    schema
        The schema file.
    content
        What a model sees by it.
    path
        A table with the columns of the features; texts; a table of paths of images, one image or a
        folder of them. Columns of target, site and person need not be there.
    column
        Of texts in a table; None for that of the schema file.
    """
    spec = schema.content
    if isinstance(spec, TextSpec):
        text = path.suffix.lower() == ".txt"
        return text_rows(path, column or (None if text else spec.column), spec.length)
    no_column(path, column)
    if isinstance(spec, ImageSpec) and (
        spec.column is None or path.is_dir() or path.suffix.lower() not in TABLES
    ):
        grey = spec.colour is Colour.GREY
        return image_rows(path, size=spec.size, grey=grey, resize=spec.resize)
    table = read_table(path, content.needed, schema.about.delimiter)
    rows = Rows(str(path), table, path.parent)
    check_columns(rows, content.needed)
    features: torch.Tensor = content.read(rows, stop)
    return Unlabelled(tuple(map(str, table.index)), features)
