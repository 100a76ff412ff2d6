"""Data sets of Hugging Face's `datasets` as rows; needs that library.

A data set is a folder that `save_to_disk` made, a local CSV, JSON or Parquet file, or
hub:OWNER/NAME. Where it has several splits, a column `SPLIT` says which one a row is of, unless it
has a column of that name. Labels that have names are these names.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pandas as pd

from tacit.domains.own.arrow import text_of
from tacit.domains.own.content import Rows
from tacit.domains.own.schema_file import HUB, SchemaFile
from tacit.domains.own.schema_parts import ImageSpec
from tacit.domains.schema import Say
from tacit.errors import ConfigurationError, DataError

SPLIT: Final = "split"
BUILDERS: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
}


def from_datasets(schema: SchemaFile, file: str, say: Say) -> Rows:
    """Read a data set; it is an `Opener`.

    Raises
    ------
    ConfigurationError
        datasets is not installed; names the extra.
    DataError
        There is no such data set, or it cannot be read.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigurationError(
            f"{file}: needs datasets: pip install 'tacit[huggingface]'"
        ) from error
    datasets.disable_progress_bars()
    # What datasets makes of a file is a copy of it: it is gone when it is read.
    with TemporaryDirectory() as folder:
        try:
            found = _loaded(datasets, schema, file, folder)
            parts = dict(found) if isinstance(found, dict) else {"": found}
            tables = [_table(part, schema, file, name) for name, part in parts.items()]
        except (OSError, ValueError, TypeError, datasets.exceptions.DatasetsError) as error:
            raise DataError(f"{file}: cannot be read by datasets: {error}") from error
    table = pd.concat(tables)
    if table.empty:
        raise DataError(f"{file}: holds no rows")
    return Rows(file, table, Path(file).parent)


def _loaded(datasets: Any, schema: SchemaFile, file: str, folder: str) -> Any:
    """Return a `datasets.Dataset`, or several by their splits."""
    if file.startswith(HUB):
        name = file.removeprefix(HUB)
        return datasets.load_dataset(name, revision=schema.about.revision)
    path = Path(file)
    if path.is_dir():
        return datasets.load_from_disk(file)
    builder = BUILDERS.get(path.suffix.lower())
    if builder is None or not path.is_file():
        raise DataError(
            f"{file}: there is no such data set: a folder of save_to_disk, a file "
            f"({', '.join(BUILDERS)}), or {HUB}OWNER/NAME"
        )
    delimiters = {".csv": {"sep": schema.about.delimiter}, ".tsv": {"sep": "\t"}}
    return datasets.load_dataset(
        builder,
        data_files=file,
        cache_dir=folder,
        keep_in_memory=True,
        split="train",
        **delimiters.get(path.suffix.lower(), {}),
    )


def _table(part: Any, schema: SchemaFile, file: str, split: str) -> pd.DataFrame:
    """Write one split as a table of text; images are bytes or paths."""
    import datasets

    image = schema.content.column if isinstance(schema.content, ImageSpec) else None
    is_image = image is not None and isinstance(part.features.get(image), datasets.Image)
    wanted = set(schema.columns) - ({image} if is_image else set())
    table = text_of(part.with_format("arrow")[:], file, wanted)
    for name in wanted:
        kind = part.features.get(name)
        if isinstance(kind, datasets.ClassLabel):
            table[name] = [kind.names[int(place)] if place else "" for place in table[name]]
    if is_image:
        stored = part.cast_column(image, datasets.Image(decode=False))[image]
        table[image] = [(each and (each["bytes"] or each["path"])) or "" for each in stored]
    if split:
        table.index = pd.Index([f"row {row} of {split}" for row in table.index])
        if SPLIT not in table:
            table[SPLIT] = split
    return table
