"""Everything that a schema file names, read: sites' rows and the public pool."""

from collections.abc import Iterable
from pathlib import Path

import torch

from tacit.domains.domain import Card, SiteData
from tacit.domains.own.answers import Answers
from tacit.domains.own.content import content_of
from tacit.domains.own.held import (
    Held,
    check_apart_over_files,
    check_columns,
    check_named_over_files,
    hold,
)
from tacit.domains.own.opening import Opener, opened
from tacit.domains.own.schema_file import Kind, SchemaFile
from tacit.domains.schema import Say, stop
from tacit.errors import DataError


class Reader:
    """Reads the data of a schema file.

    Parameters
    ----------
    schema
        The schema file.
    opener
        Reads its files.
    """

    def __init__(self, schema: SchemaFile, opener: Opener = opened) -> None:
        self.schema = schema
        self.content = content_of(schema)
        self.answers = Answers(schema.target)
        self._opener = opener

    @property
    def card(self) -> Card:
        """What a person is told."""
        about, answers, task = self.schema.about, self.answers, self.schema.target.task
        return Card(
            name=self.schema.name,
            title=about.title or about.name,
            description=about.description,
            classes=answers.classes,
            metric=answers.metric,
            unit_protected=about.row,
            not_protected=(*self._limits(), *about.not_protected),
            public_pool=self._pool_name(),
            synthetic=about.synthetic,
            target=answers.number,
            ordered=task == "ordinal",
            together=task == "labels",
            prior=answers.prior,
            texts=self.schema.kind is Kind.TEXT,
        )

    def whole(self, file: str, say: Say = stop) -> Held:
        """Read all rows of a file.

        Raises
        ------
        DataError
            The file cannot be read, or lacks a column.
        """
        rows = self._opener(self.schema, file, say)
        return hold(rows, self.schema, self.content, self.answers, say)

    def sites(self, names: Iterable[str], say: Say = stop) -> dict[str, SiteData]:
        """Read the rows of some of the sites; of no other, where each has a file of its own.

        Parameters
        ----------
        names
            The sites.
        say
            Is told of what is wrong, by file, row, column and value. Where it goes on, a file that
            cannot be read has no sites, and rows that it was told of hold anything.

        Raises
        ------
        ConfigurationError
            A library is not installed.
        """
        files: dict[str, list[str]] = {}
        for site in names:
            files.setdefault(self.schema.file_of(site), []).append(site)
        found, by_file = {}, {}
        for file, own in files.items():
            try:
                held = by_file[file] = self.whole(file, say)
            except DataError as error:
                say(str(error))
                continue
            found.update({site: held.of(site) for site in own})
        if len(by_file) > 1:  # within one file `hold` has looked
            check_named_over_files(by_file, say)
            if self.schema.test.column is not None:
                check_apart_over_files(by_file, say)
        return found

    def public_pool(self, say: Say = stop) -> torch.Tensor | None:
        """Read the unlabelled public examples [n, ...]; None where there are none."""
        name = self.schema.about.public_pool
        if name is None:
            return None
        rows = self._opener(self.schema, self.schema.inside(name), say)
        check_columns(rows, self.content.needed)
        return self.content.read(rows, say)

    def _pool_name(self) -> str | None:
        name = self.schema.about.public_pool
        return None if name is None else f"the examples of {Path(name).name}, public by assumption"

    def _limits(self) -> tuple[str, ...]:
        person = self.schema.about.person
        several = (
            "a person with several rows: their guarantees compose"
            if person is None
            else "a person who has rows at several sites: their guarantees compose; one with "
            "several rows at a site is protected as a whole only with privacy.unit=person"
        )
        return (several, "the number of rows: the declared sizes are public")
