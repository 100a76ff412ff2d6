"""A first schema file for somebody's data: the names of columns, and what is still to be said.

Of the data only names are read. What must be public knowledge is left open as ``???``: taken from
the rows, it would tell what the guarantee is to hide.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from tacit.domains.own.files import SITE_FOLDER, names_of_columns
from tacit.domains.own.schema_file import OPEN
from tacit.errors import ConfigurationError
from tacit.nearest import nearest

Said = Mapping[str, object]
"""What a person has said of a column that is learnt from, as `Feature` takes it."""


@dataclass(frozen=True)
class Wishes:
    """What is known about the columns; of what is not, the draft asks.

    Parameters
    ----------
    target, site, person
        Columns with these parts; None where that is not said.
    text, image
        Column of texts or of images' paths, where the examples are these.
    features
        What is learnt from, and what was said of it; None for all other columns, all open.
    answers
        More keys of ``target``, such as task and classes.
    sizes
        Declared sizes by site.
    """

    target: str | None = None
    site: str | None = None
    person: str | None = None
    text: str | None = None
    image: str | None = None
    features: Mapping[str, Said | None] | None = None
    answers: Said = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


HEAD: Final = """\
# What is public about this data. Every party of a run has the same file.
# Replace each ??? by what is known WITHOUT looking at the rows: a range or a list that is read off
# them tells about the people in them, and no noise is added to it.
"""
TASKS: Final = (
    "  # classes: classes: {well: 0, ill: [1, 2]}, with the codes of each; and, where it is public",
    "  #   how common each is, prior: {well: 0.9, ill: 0.1}",
    "  # ordinal: classes as well, from lowest to highest",
    "  # number: number: [lowest, highest] that can be right, and unit: weeks",
    "  # labels: labels: {cough: COLUMN, fever: COLUMN}, and codes: [0, 1]; column goes out",
)
FOLDER_CLASSES: Final = ("  # the folder of an image is its class: classes: [well, ill]",)
FEATURES: Final = (
    "# What is learnt from; take out what is not. Each is",
    "#   {number: [lowest, highest]} that can be right at all; with typical: [low, high] that most",
    "#   have, and missing: '' where cells may be empty; or",
    "#   {codes: [all, that, there, are]}: in quotation marks where text looks like a number, or",
    "#   like true or false.",
)
SITES: Final = (
    "# A rounded number of training rows of each site, which is public and does not follow the",
    "# data: rates and noise rest on it. To deal out one file's rows in a simulation instead, take",
    "# all of sites out, and use partition=iid domain.partition.sites=5.",
)


def columns_to_ask(file: Path) -> tuple[list[str], str]:
    """Return the names of a file's columns and its delimiter; none of a folder of images.

    Raises
    ------
    DataError
        The file is not there, or has no names.
    """
    return ([], ",") if file.is_dir() else names_of_columns(file)


def draft(file: Path, beside: Path, wishes: Wishes) -> str:
    """Write a schema file for a table, or for a folder of images.

    Parameters
    ----------
    file
        The data.
    beside
        Folder in which the schema file will lie.
    wishes
        What is known already.

    Raises
    ------
    ConfigurationError
        A column that was named is not there.
    DataError
        The file is not there, or has no names of columns.
    """
    names, delimiter = columns_to_ask(file)
    named = {"target": wishes.target, "site": wishes.site, "person": wishes.person}
    named |= {"text": wishes.text, "image": wishes.image}
    for key, column in named.items():
        if column is not None and column not in names:
            raise ConfigurationError(
                f"--{key}={column}: {file} has no such column; {nearest(column, names)}"
            )
    stem = "".join(c if c.isalnum() and c.isascii() else "-" for c in file.stem.lower()).strip("-")
    lines = [
        HEAD,
        f"name: {_yaml((stem or 'data')[:41])}   # short; the same at every party",
        "title: ''   # for the report",
        "description: ''",
        f"row: {'one image' if file.is_dir() or wishes.image else 'one row'}"
        "   # what is protected: one visit, one patient, ...",
        f"files: {_yaml(_seen_from(file, beside))}"
        "   # or one for each site: {north: north.csv, south: south.csv}, or data/{site}.csv",
    ]
    if delimiter != ",":
        lines.append(f"delimiter: {_yaml(delimiter)}")
    lines += ["", *_target(wishes, folder=file.is_dir())]
    lines += ["", *_content(wishes, names, folder=file.is_dir())]
    lines += ["", *_sites(wishes, folder=file.is_dir())]
    lines += [
        "",
        "# Held out, to measure on in a simulation: a share drawn by what stands in each row.",
        "test: {share: 0.25}   # or {column: split, value: test}",
        "# public_pool: pool.csv   # unlabelled examples that are public by assumption",
    ]
    return "\n".join(lines) + "\n"


def _target(wishes: Wishes, *, folder: bool) -> list[str]:
    answers = dict(wishes.answers)
    task = answers.pop("task", None)
    lines = ["target:"]
    if not folder and task != "labels":  # each label has a column of its own
        lines.append(f"  column: {_yaml(wishes.target)}")
    lines.append(f"  task: {_yaml(task)}   # classes, ordinal, labels or number")
    lines += [f"  {key}: {_yaml(value)}" for key, value in answers.items()]
    if task is None:
        lines += FOLDER_CLASSES if folder else TASKS
    return lines


def _content(wishes: Wishes, names: Sequence[str], *, folder: bool) -> list[str]:
    if folder or wishes.image:
        column = [f"  column: {_yaml(wishes.image)}"] if wishes.image else []
        return [
            "image:",
            *column,
            f"  size: {OPEN}   # [height, width] in pixels",
            "  colour: grey   # or rgb",
            "  resize: false   # true: images of other sizes are resized; false: they are errors",
        ]
    if wishes.text:
        return [
            "text:",
            f"  column: {_yaml(wishes.text)}",
            "  length: 2048   # bytes that are kept of each",
        ]
    taken = (wishes.target, wishes.site, wishes.person)
    features = wishes.features
    if features is None:
        features = {name: None for name in names if name not in taken}
    lines = [*FEATURES, "features:"]
    for name, said in features.items():
        lines.append(f"  {_yaml(name)}: {_yaml(said)}")
    return lines


def _sites(wishes: Wishes, *, folder: bool) -> list[str]:
    lines = [*SITES, "sites:"]
    if wishes.site:
        lines.append(f"  column: {_yaml(wishes.site)}")
    elif not folder:
        lines.append("  # column: COLUMN   # says whose a row is, where one file holds all sites'")
    else:
        lines.append(f"  # the images lie in SITE/CLASS/IMAGE: declare each {SITE_FOLDER}")
    lines.append("  declared_sizes:")
    lines += [f"    {site}: {size}" for site, size in wishes.sizes.items()] or [
        f"    {_yaml(OPEN)}: {OPEN}   # north: 200"
    ]
    if wishes.person:
        lines += [
            "",
            "# All rows of a person are held out or none, and privacy.unit=person counts.",
        ]
        lines.append(f"person: {_yaml(wishes.person)}")
        lines.append("# sites.declared_persons: {north: 100} belongs to it, as declared_sizes")
    return lines


def _yaml(value: object) -> str:
    """Write a value on one line; what is not known is left open."""
    if value is None:
        return OPEN
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)  # YAML reads it too
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=1 << 20, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _seen_from(file: Path, folder: Path) -> str:
    """Return a path as seen from a folder, in full where it lies elsewhere."""
    whole, base = file.resolve(), folder.resolve()
    return str(whole.relative_to(base)) if whole.is_relative_to(base) else str(whole)
