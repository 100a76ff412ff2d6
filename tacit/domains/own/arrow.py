"""Parquet, and tables of Apache Arrow in general, as tables of text; needs pyarrow."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from tacit.errors import ConfigurationError, DataError


def read_parquet(path: Path, wanted: Collection[str]) -> pd.DataFrame:
    """Read a Parquet file as `text_of` has it.

    Raises
    ------
    ConfigurationError
        pyarrow is not installed; names the extra.
    DataError
        The file is no Parquet, or a wanted column holds something else than single values.
    """
    return text_of(_opened(path).read(), str(path), wanted)


def arrow_names(path: Path) -> list[str]:
    """Read the names of a Parquet file's columns; no value is looked at."""
    names: list[str] = _opened(path).schema_arrow.names
    return names


def text_of(table: Any, source: str, wanted: Collection[str]) -> pd.DataFrame:
    """Write the cells of a `pyarrow.Table` as text; nothing where a value is missing.

    Parameters
    ----------
    table
        The table.
    source
        The file, for the message.
    wanted
        Columns that must hold single values; others that hold lists, say, are empty.

    Returns
    -------
    DataFrame
        Rows are numbered from 1 on.

    Raises
    ------
    DataError
        A wanted column holds something else than single values.
    """
    import pyarrow as pa

    found: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in found:
            raise DataError(f"{source}: two columns are called {name!r}: rename one")
        try:
            found[name] = column.cast(pa.string()).fill_null("").to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            if name in wanted:
                raise DataError(
                    f"{source}: column {name!r} holds {column.type}, and single values are needed"
                ) from error
            found[name] = ""
    return pd.DataFrame(found, index=pd.RangeIndex(1, len(table) + 1), dtype=object)


def _opened(path: Path) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigurationError(
            f"{path}: Parquet needs pyarrow: pip install 'tacit[parquet]'"
        ) from error
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
