"""Rows of a file as examples: whose they are, at which site, and which are held out."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from tacit.domains.domain import Examples, SiteData
from tacit.domains.own.answers import Answers
from tacit.domains.own.content import Content, Rows, column_of
from tacit.domains.own.files import DELIMITERS, SITE_FOLDER
from tacit.domains.own.schema_file import Kind, SchemaFile
from tacit.domains.own.schema_parts import HeldOutSpec
from tacit.domains.schema import NAMED, Choice, Say, name_cells, place, read_column
from tacit.errors import DataError
from tacit.nearest import nearest

SALT: Final = "tacit/own/1"
_POINTED: Final = r"^(\d+)\.0+$"
"""A number as programs write it that take a column of whole numbers for one of fractions."""

Booleans = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Held:
    """All rows of a file.

    Parameters
    ----------
    examples
        What is seen and told of each row [n], without persons.
    sites
        Where each belongs [n]; None where all are of one site.
    persons
        Whose each is [n]; None where rows name nobody.
    test
        Which are held out [n].
    """

    examples: Examples
    sites: Texts | None
    persons: Texts | None
    test: Booleans

    def of(self, site: str) -> SiteData:
        """Return a site's rows."""
        own = np.ones(len(self.test), bool) if self.sites is None else self.sites == site
        return SiteData(self.chosen(own & ~self.test), self.chosen(own & self.test))

    def chosen(self, which: Booleans) -> Examples:
        """Return some of the rows [n]; their persons are numbered anew."""
        return self.at(np.flatnonzero(which))

    def at(self, places: npt.NDArray[np.int64]) -> Examples:
        """Return the rows at these places; their persons are numbered anew."""
        rows = torch.from_numpy(places)
        features = self.examples.features.index_select(0, rows)
        targets = self.examples.targets.index_select(0, rows)
        if self.persons is None:
            return Examples(features, targets)
        return Examples(features, targets, torch.from_numpy(numbered(self.persons[places])))


def numbered(persons: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Number persons [n] from 0 on, in the order of their names."""
    return np.unique(persons, return_inverse=True)[1].reshape(-1).astype(np.int64)


def hold(rows: Rows, schema: SchemaFile, content: Content, answers: Answers, say: Say) -> Held:
    """Make examples of rows, and find out where each belongs.

    Parameters
    ----------
    rows
        Of one file.
    schema
        Says which columns there are beside those of `content` and `answers`.
    content, answers
        What a model sees and tells.
    say
        Is told of what is wrong with a row.

    Raises
    ------
    DataError
        A column is missing.
    """
    sites = schema.sites
    shared = sites is not None and not schema.file_each
    column = SITE_FOLDER if schema.in_folders and shared else (sites.column if sites else None)
    others = (column, schema.about.person, schema.test.column)
    needed = (*content.needed, *answers.needed)
    check_columns(rows, (*needed, *(name for name in others if name is not None)))
    examples = Examples(content.read(rows, say), answers.read(rows, say))
    where = None
    if sites is not None and column is not None:
        values = {sites.value(site): site for site in sites.declared_sizes}
        read_column(Choice(column, tuple(values)), rows.table, rows.source, say, _hint)
        where = rows.table[column].map(values).to_numpy(object)
    persons = None
    if schema.about.person is not None:
        persons = rows.table[schema.about.person].to_numpy(object)
        _check_named(rows, schema.about.person, say)
    pixels = examples.features if schema.kind is Kind.IMAGES else None
    test = _held_out(rows, schema.test, persons, pixels, say)
    if persons is not None and schema.test.column is not None:
        _check_apart(rows, persons, test, say)
    return Held(examples, where, persons, test)


def check_columns(rows: Rows, names: Iterable[str]) -> None:
    """Refuse a table that lacks a column.

    Raises
    ------
    DataError
        Names file and column, and the nearest that there is.
    """
    there = [str(name) for name in rows.table.columns]
    for name in names:
        if name in there:
            continue
        if other := next((d for d in DELIMITERS for t in there if name in t.split(d)), None):
            raise DataError(
                f"{rows.source}: column {name!r} is missing, but {other!r} stands before or after "
                f"it in the first line: if that is between cells, write delimiter: {other!r} in "
                "the schema"
            )
        raise DataError(f"{rows.source}: column {name!r} is missing; {nearest(name, there)}")


def _hint(cell: str) -> str:
    return "correct the cell, or add the site to sites.declared_sizes"


def _held_out(
    rows: Rows, spec: HeldOutSpec, persons: Texts | None, pixels: torch.Tensor | None, say: Say
) -> Booleans:
    """Tell which rows are held out [n].

    By share it is a coin for each row (or person) that falls by all that stands in the file about
    it (of an image by its pixels, whatever its name): whether another row is there changes nothing
    for it, as the guarantee needs, equal rows stay together, and it is the same whatever is learnt
    from.
    """
    if spec.column is not None and spec.value is not None:
        column = column_of(spec.column, (spec.value,))
        found = column.allows(column.parse(rows.table[spec.column]))
        if not found.any():
            say(
                f"{rows.source}: no row is held out: none has {spec.value!r} in column "
                f"{spec.column!r}, as test says"
            )
        return found
    if persons is not None:
        names, back = np.unique(persons, return_inverse=True)
        return _coins([(name,) for name in names], spec)[back.reshape(-1)]
    if pixels is not None:
        return _coins([(image.tobytes(),) for image in pixels.numpy()], spec)
    return _coins(list(zip(*(rows.table[name] for name in rows.table), strict=True)), spec)


def _coins(keys: list[tuple[str | bytes, ...]], spec: HeldOutSpec) -> Booleans:
    """Toss a coin for each key: it is below `share` of all 64-bit numbers."""
    bound = int((spec.share or 0.0) * 2**64)
    begun = hashlib.blake2b(f"{SALT}/{spec.seed}".encode(), digest_size=8)
    found = np.empty(len(keys), bool)
    for number, key in enumerate(keys):
        digest = begun.copy()
        for cell in key:
            held = cell if isinstance(cell, bytes) else cell.encode(errors="surrogatepass")
            digest.update(len(held).to_bytes(8, "big") + held)
        found[number] = int.from_bytes(digest.digest(), "big") < bound
    return found


def check_named_over_files(held: Mapping[str, Held], say: Say) -> None:
    """Refuse persons who are named 7 in one file and 7.0 in another."""
    files = {
        person: file
        for file, one in held.items()
        if one.persons is not None
        for person in one.persons
    }
    pointed = {person: re.fullmatch(_POINTED, str(person)) for person in files}
    both = sorted(
        p for p, found in pointed.items() if found and files.get(found[1], files[p]) != files[p]
    )
    for person in both[:NAMED]:
        say(
            f"{files[person]}: {person!r} would be another person than the one without .0, who has "
            "rows in another file: write both alike"
        )


def check_apart_over_files(held: Mapping[str, Held], say: Say) -> None:
    """Refuse persons who are held out in one file and learnt from in another."""
    learnt = {
        person: file
        for file, one in held.items()
        if one.persons is not None
        for person in one.persons[~one.test]
    }
    for file, one in held.items():
        if one.persons is None:
            continue
        both = [p for p in sorted(set(one.persons[one.test])) if learnt.get(p, file) != file]
        for person in both[:NAMED]:
            say(
                f"{file}: {person!r} has rows that are held out, and rows to learn from in "
                f"{learnt[person]}: a person's rows are all held out or none"
            )


def _check_named(rows: Rows, column: str, say: Say) -> None:
    """Refuse rows that name nobody, or somebody in a way that another row may not."""
    cells = rows.table[column].astype(str)
    known = set(cells)
    whole = cells.str.replace(_POINTED, r"\1", regex=True)

    def tell(which: "pd.Series[bool]", wrong: str) -> None:
        name_cells(rows.source, cells, which.to_numpy(), lambda cell: wrong, say)

    tell(cells == "", "names no person: write whose row it is, or take it out")
    tell(
        cells != cells.str.strip(),
        "has blanks at an end, and would be another person than without: take them out",
    )
    tell(
        (cells != whole) & whole.isin(known),
        "would be another person than the one without .0, who has rows too: write both alike",
    )


def _check_apart(rows: Rows, persons: Texts, test: Booleans, say: Say) -> None:
    """Refuse persons with rows on both sides."""
    both = set(persons[test]) & set(persons[~test])
    for row in np.flatnonzero(pd.Series(persons).isin(both) & test)[:NAMED].tolist():
        say(
            f"{rows.source}: {place(rows.table.index[row])} is held out, and {persons[row]!r} has "
            "rows to learn from too: a person's rows are all held out or none"
        )
