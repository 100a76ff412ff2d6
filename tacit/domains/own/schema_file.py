"""A schema file: what is public about somebody's own data, as one YAML.

Every party of a run has the same; where the data lie may differ from one to another. Its paths
count from the folder that holds it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, with_config

from tacit.domains.own.schema_parts import Feature, HeldOutSpec, ImageSpec, SitesSpec, TextSpec
from tacit.domains.own.schema_targets import AnyTarget, columns_of, names_of
from tacit.domains.own.schema_values import STRICT, Text

OPEN: Final = "???"
"""What a draft leaves open."""
SITE: Final = "{site}"
"""In the path of a file: the name of the site."""
HUB: Final = "hub:"
"""What begins the name of a data set on the Hugging Face hub."""


def _short(name: str) -> str:
    if not re.fullmatch("[a-z0-9][a-z0-9_-]{0,40}", name):
        raise ValueError(f"{name!r} must be of small letters, digits, - and _, at most 41")
    return name


class Kind(StrEnum):
    """What the examples are."""

    TABLE = "table"
    IMAGES = "images"
    TEXT = "text"


@with_config(STRICT)
@dataclass(frozen=True)
class About:
    """What stands by itself in a schema file.

    Parameters
    ----------
    name
        A short name, the same at every party.
    files
        The file (or folder of images) with the data: one for all sites, or one for each: a mapping
        from sites to files, or a path with {site} in it.
    title, description
        For the report.
    row
        What a row is, such as 'one visit'.
    person
        Column that names whose a row is; None where rows name nobody.
    public_pool
        A file with unlabelled examples that are public by assumption.
    delimiter
        Between the cells of a CSV.
    not_protected
        More that the guarantee does not cover, for the report.
    synthetic
        Whether the rows were made by a program.
    revision
        Of a data set on the Hugging Face hub, where `files` is hub:OWNER/NAME.
    """

    name: Annotated[str, Field(strict=True), AfterValidator(_short)]
    files: Text | Mapping[str, Text]
    title: str = ""
    description: str = ""
    row: Text = "one row"
    person: Text | None = None
    public_pool: Text | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1, strict=True)] = ","
    not_protected: tuple[Text, ...] = ()
    synthetic: Annotated[bool, Field(strict=True)] = False
    revision: Text | None = None


@dataclass(frozen=True)
class SchemaFile:
    """What a schema file says.

    Parameters
    ----------
    path
        The file itself.
    about
        Names and files.
    target
        What is to be told.
    content
        Columns that are learnt from, in their order; or what images are; or where texts stand.
    sites
        The sites; None where a partition of a simulation is to deal rows out.
    test
        Which rows are held out.
    """

    path: Path
    about: About
    target: AnyTarget
    content: Mapping[str, Feature] | ImageSpec | TextSpec
    sites: SitesSpec | None = None
    test: HeldOutSpec = field(default_factory=lambda: HeldOutSpec(share=0.25))

    @property
    def kind(self) -> Kind:
        """What the examples are."""
        match self.content:
            case ImageSpec():
                return Kind.IMAGES
            case TextSpec():
                return Kind.TEXT
            case _:
                return Kind.TABLE

    @property
    def features(self) -> Mapping[str, Feature]:
        """Columns that are learnt from; none of images and texts."""
        return {} if isinstance(self.content, ImageSpec | TextSpec) else self.content

    @property
    def name(self) -> str:
        """Name of the domain: with a digest of all that decides what a model sees and tells.

        Two parties whose schemas differ in that are of different domains, and a site refuses.
        Where things stand, such as columns and codes of the target, may differ.
        """
        sees: object = [[name, asdict(feature)] for name, feature in self.features.items()]
        if isinstance(self.content, ImageSpec | TextSpec):
            sees = {**asdict(self.content), "column": None}
        says = {
            "task": self.target.task,
            "names": names_of(self.target),
            "number": getattr(self.target, "number", None),
            "kind": self.kind,
            "sees": sees,
        }
        digest = hashlib.sha256(json.dumps(says, sort_keys=True).encode()).hexdigest()
        return f"{self.about.name}-{digest[:8]}"

    @property
    def file_each(self) -> bool:
        """Whether every site has a file of its own."""
        return not isinstance(self.about.files, str) or SITE in self.about.files

    @property
    def in_folders(self) -> bool:
        """Whether images lie in folders of their classes, so that nothing has columns."""
        return isinstance(self.content, ImageSpec) and self.content.column is None

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that the schema file names."""
        sees = self.features if self.kind is Kind.TABLE else [getattr(self.content, "column", None)]
        others = (self.sites.column if self.sites else None, self.about.person, self.test.column)
        every = (*sees, *columns_of(self.target), *others)
        return tuple(dict.fromkeys(name for name in every if name is not None))

    def file_of(self, site: str) -> str:
        """Return the file with a site's rows, as seen from here; others' may be in it too."""
        files = self.about.files
        return self.inside(files.replace(SITE, site) if isinstance(files, str) else files[site])

    def inside(self, name: str) -> str:
        """Return a file that the schema file names, as seen from here."""
        return name if name.startswith(HUB) else str(self.path.parent / name)
