"""The domains of anybody's own data: `OwnTable`, `OwnImages`, `OwnText` and `HuggingFace`.

A schema file says all that is public; docs/your-own-data.md teaches how to write one.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from tacit.domains.domain import Card, SiteData
from tacit.domains.own.dealt import Dealt, deal
from tacit.domains.own.huggingface import from_datasets
from tacit.domains.own.opening import Opener, opened
from tacit.domains.own.reader import Reader
from tacit.domains.own.schema_file import Kind
from tacit.domains.own.schema_reading import read_schema
from tacit.domains.own.unlabelled import own_rows
from tacit.domains.partition import Partition, partition_of
from tacit.domains.unlabelled import Unlabelled
from tacit.errors import ConfigurationError

NO_SITES = (
    "which sites are there? add sites.declared_sizes, with a column or a file for each site; or "
    "deal the rows out in a simulation: partition=iid domain.partition.sites=5"
)


class OwnData:
    """Somebody's own data.

    Parameters
    ----------
    schema
        Path of the schema file.
    partition
        Deals the rows of one file out to simulated sites, whatever sites the schema file has: a
        `Partition`, or what describes one. None for the sites of the schema file.

    Raises
    ------
    ConfigurationError
        The schema file is wrong, of another kind of data, or has no sites and no partition.
    DataError
        With a partition: the data cannot be used.
    """

    kind: ClassVar[Kind | None] = None

    def __init__(self, schema: str, partition: Mapping[str, Any] | Partition | None = None) -> None:
        if not isinstance(schema, str):
            raise ConfigurationError(f"domain.schema={schema}: must be the path of a schema file")
        self._file = read_schema(Path(schema))
        if self.kind is not None and self._file.kind is not self.kind:
            raise ConfigurationError(
                f"{schema}: describes {self._file.kind.value}: use domain={self._file.kind.value}"
            )
        self._reader = Reader(self._file, self._opener())
        self.inputs = self._reader.content.inputs
        self.groups = self._reader.content.groups
        self.columns = self._reader.content.needed if self.groups else ()
        self._partition = None if partition is None else partition_of(partition)
        persons: Mapping[str, int] | None = None
        if self._partition is not None:
            self.declared_sizes = self._dealt.declared_sizes
            persons = self._dealt.declared_persons
        elif self._file.sites is not None:
            self.declared_sizes = dict(sorted(self._file.sites.declared_sizes.items()))
            persons = self._file.sites.declared_persons
        else:
            raise ConfigurationError(f"{schema}: {NO_SITES}")
        if persons is not None:
            self.declared_persons = dict(sorted(persons.items()))

    @property
    def card(self) -> Card:
        """What a person is told."""
        return self._reader.card

    def load(self) -> Mapping[str, SiteData]:
        """Read and check every site's rows."""
        if self._partition is not None:
            return self._dealt.sites
        return self._reader.sites(self.declared_sizes)

    def load_site(self, site: str) -> SiteData:
        """Read and check one site's rows; where each site has a file, no other is looked at."""
        return self.load()[site] if self._partition else self._reader.sites([site])[site]

    def public_pool(self) -> torch.Tensor | None:
        """Unlabelled public examples, where the schema file names any."""
        return self._reader.public_pool()

    def read_unlabelled(self, path: Path, column: str | None = None) -> Unlabelled:
        """Read rows without labels; `column` is of texts in a table, where it is another."""
        return own_rows(self._file, self._reader.content, path, column)

    def _opener(self) -> Opener:
        return opened

    @cached_property
    def _dealt(self) -> Dealt:
        if self._file.file_each:
            raise ConfigurationError(
                f"{self._file.path}: every site has a file of its own: a partition deals out the "
                "rows of one file"
            )
        partition = self._partition
        if partition is None:
            raise ConfigurationError("domain.partition: there is none")
        whole = self._reader.whole(self._file.file_of(""))
        return deal(whole, self._file, partition)


class OwnTable(OwnData):
    """A table: CSV, Parquet or JSON lines."""

    kind = Kind.TABLE


class OwnImages(OwnData):
    """Images: in folders of their classes, or in a table of paths."""

    kind = Kind.IMAGES


class OwnText(OwnData):
    """Texts: CSV, Parquet or JSON lines."""

    kind = Kind.TEXT


class HuggingFace(OwnData):
    """A table, images or texts that Hugging Face's datasets reads."""

    def _opener(self) -> Opener:
        return from_datasets
