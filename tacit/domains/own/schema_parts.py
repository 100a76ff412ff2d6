"""The groups of keys of a schema file: features, images, texts, sites, and what is held out.

Everything here is public knowledge: nothing is ever filled in from somebody's rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field, with_config

from tacit.domains.own.schema_values import (
    STRICT,
    AnyText,
    Code,
    Codes,
    Range,
    Share,
    Sizes,
    Text,
    Texts,
    check_codes,
)
from tacit.domains.texts import LONGEST
from tacit.errors import ConfigurationError
from tacit.settings import Count
from tacit.trust.names import check_name


@with_config(STRICT)
@dataclass(frozen=True)
class Feature:
    """A column that is learnt from: a number or codes.

    Parameters
    ----------
    number
        Lowest and highest value that can be right; beyond it a cell is an error.
    typical
        Interval of common values, which becomes [-1, 1]; None for all of `number`.
    missing
        Texts that stand for 'not measured', such as "" for an empty cell.
    codes
        All that a cell may hold. Numbers are compared as numbers, text to the letter.
    """

    number: Range | None = None
    typical: Range | None = None
    missing: Texts | None = None
    codes: Codes | None = None

    def __post_init__(self) -> None:
        if (self.number is None) == (self.codes is None):
            raise ValueError("must have number: [lowest, highest] or codes: [all, there, are]")
        if self.number is not None and self.typical is not None:
            (low, high), (common_low, common_high) = self.number, self.typical
            if common_low < low or common_high > high:
                raise ValueError(f"typical: must lie within number, {low:g} to {high:g}")
        if self.codes is not None:
            if self.typical is not None or self.missing is not None:
                raise ValueError('typical and missing go with number; add "" to codes instead')
            if len(self.codes) < 2:
                raise ValueError("codes: write all that there are, two at least")
            check_codes(self.codes)


class Colour(StrEnum):
    """What a pixel is."""

    GREY = "grey"
    RGB = "rgb"


@with_config(STRICT)
@dataclass(frozen=True)
class ImageSpec:
    """What every image is.

    Parameters
    ----------
    size
        Height and width in pixels.
    colour
        grey or rgb; an image of the other kind is converted.
    resize
        Whether an image of another size is resized to it; otherwise it is an error.
    column
        Of a table of paths, which count from the table's folder; None with folders.
    """

    size: tuple[Count, Count]
    colour: Colour = Colour.GREY
    resize: Annotated[bool, Field(strict=True)] = False
    column: Text | None = None


@with_config(STRICT)
@dataclass(frozen=True)
class TextSpec:
    """Where the texts stand.

    Parameters
    ----------
    column
        Of the text.
    length
        Bytes of UTF-8 that are kept of each.
    """

    column: Text
    length: Count = LONGEST


@with_config(STRICT)
@dataclass(frozen=True)
class SitesSpec:
    """The sites, and what is public about each.

    Parameters
    ----------
    declared_sizes
        A rounded public number of training rows of each; it does not follow the data.
    declared_persons
        The same of persons, where rows name one.
    column
        Whose value says where a row belongs, where one file holds several sites' rows.
    values
        The value of a site in that column, where it is not the site's name.
    """

    declared_sizes: Sizes
    declared_persons: Sizes | None = None
    column: Text | None = None
    values: Mapping[str, AnyText] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.declared_sizes:
            raise ValueError("declared_sizes: there are no sites")
        for site in self.declared_sizes:
            try:
                check_name(site)
            except ConfigurationError as error:
                raise ValueError(f"declared_sizes: {error}") from error
        for key, given in (("declared_persons", self.declared_persons), ("values", self.values)):
            if unknown := sorted(set(given or ()) - set(self.declared_sizes)):
                raise ValueError(f"{key}: {unknown[0]} is none of declared_sizes' sites")
        if self.declared_persons is not None and len(self.declared_persons) < len(
            self.declared_sizes
        ):
            raise ValueError("declared_persons: must have a number for each site")
        if self.values and self.column is None:
            raise ValueError("values go with column")
        if len({self.value(site) for site in self.declared_sizes}) < len(self.declared_sizes):
            raise ValueError("values: two sites have the same")

    def value(self, site: str) -> str:
        """Return what stands in the column for a site."""
        return self.values.get(site, site)


@with_config(STRICT)
@dataclass(frozen=True)
class HeldOutSpec:
    """Which rows are held out, for a simulation to measure on.

    Parameters
    ----------
    share
        Of the rows, drawn by what stands in each (of images, by their pixels; or of the persons,
        by their names), so that no row's place depends on another row.
    seed
        Another seed draws others.
    column, value
        Or those with this value in this column.
    """

    share: Share | None = None
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    column: Text | None = None
    value: Code | None = None

    def __post_init__(self) -> None:
        if (self.column is None) != (self.value is None):
            raise ValueError("column and value go together")
        if (self.share is None) == (self.column is None):
            raise ValueError("must have share: 0.25, say, or column and value")
