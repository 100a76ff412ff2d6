"""Reading a schema file: what is wrong is said with file and key, and the nearest right key."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

from tacit import plain_yaml
from tacit.configuration import read_as
from tacit.domains.own.schema_file import OPEN, SITE, About, SchemaFile
from tacit.domains.own.schema_parts import Feature, HeldOutSpec, ImageSpec, SitesSpec, TextSpec
from tacit.domains.own.schema_targets import (
    TARGETS,
    AnyTarget,
    ClassesTarget,
    OrdinalTarget,
    columns_of,
)
from tacit.errors import ConfigurationError
from tacit.nearest import nearest

T = TypeVar("T")


def read_schema(path: Path) -> SchemaFile:
    """Read and check a schema file.

    Raises
    ------
    ConfigurationError
        It cannot be read, something is still to be filled in, or a key is unknown, missing or out
        of range; names file and key, and the nearest right key.
    """
    found = plain_yaml.read_file(path)
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path}: must hold keys and values, as in name: clinics")
    try:
        _check_filled(found)
        schema = _read(path, found)
        _check(schema)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return schema


_SECTIONS: Final = ("target", "features", "image", "text", "sites", "test")


def _read(path: Path, found: Mapping[str, Any]) -> SchemaFile:
    own = [each.name for each in fields(About)]
    _check_known(found, [*own, *_SECTIONS])
    about = read_as(About, {key: value for key, value in found.items() if key in own})
    content = [key for key in ("features", "image", "text") if found.get(key) is not None]
    if len(content) != 1:
        raise ConfigurationError(
            "must have one of features (a table), image (images) and text (texts), and has "
            + (" and ".join(content) or "none")
        )
    sites, test = found.get("sites"), found.get("test")
    return SchemaFile(
        path,
        about,
        _target(found.get("target")),
        _content(content[0], found[content[0]]),
        None if sites is None else _section("sites", SitesSpec, sites),
        HeldOutSpec(share=0.25) if test is None else _section("test", HeldOutSpec, test),
    )


def _target(found: Any) -> AnyTarget:
    if not isinstance(found, dict) or "task" not in found:
        raise ConfigurationError(f"target.task: must be set: {', '.join(TARGETS)}")
    kind = TARGETS.get(str(found["task"]))
    if kind is None:
        raise ConfigurationError(
            f"target.task={found['task']}: there is no such task; "
            f"{nearest(str(found['task']), TARGETS)}"
        )
    return _section("target", kind, found)


def _content(key: str, found: Any) -> Mapping[str, Feature] | ImageSpec | TextSpec:
    if key == "image":
        return _section(key, ImageSpec, found)
    if key == "text":
        return _section(key, TextSpec, found)
    if not isinstance(found, dict) or not found:
        raise ConfigurationError("features: must hold columns, as in age: {number: [0, 120]}")
    return {name: _section(f"features.{name}", Feature, found[name]) for name in found}


def _section(key: str, kind: type[T], found: Any) -> T:
    """Read a group of keys; what is wrong with one is said with its whole name."""
    if not isinstance(found, dict):
        raise ConfigurationError(f"{key}={found}: must be a group of keys")
    _check_known(found, [each.name for each in fields(kind)], f"{key}.")  # type: ignore[arg-type]
    return read_as(dict[str, kind], {key: found})[key]  # type: ignore[valid-type]


def _check_known(found: Mapping[str, Any], known: list[str], prefix: str = "") -> None:
    for key in found:
        if key not in known:
            raise ConfigurationError(f"{prefix}{key}: there is no such key; {nearest(key, known)}")


def _check_filled(found: Mapping[str, Any]) -> None:
    if left := dict.fromkeys(_open(found, "")):
        raise ConfigurationError(
            f"{', '.join(left)}: still {OPEN}: write what is known without looking at any row"
        )


def _open(node: Any, key: str) -> Iterator[str]:
    if node == OPEN:
        yield key
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from [f"{key}.{name}" if key else name] if OPEN in name else []
            yield from _open(value, f"{key}.{name}" if key else name)
    elif isinstance(node, list) and any(True for each in node for _ in _open(each, key)):
        yield key


def _check(schema: SchemaFile) -> None:
    """Refuse what no single key shows."""
    about, sites = schema.about, schema.sites
    told = columns_of(schema.target)
    others = {
        "person": about.person,
        "sites.column": sites.column if sites else None,
        "test.column": schema.test.column,
    }
    if schema.in_folders:
        _check_folders(schema, others)
    elif not told:
        raise ConfigurationError("target.column: must be set")
    for column in told:
        if column in schema.features:
            raise ConfigurationError(f"features.{column}: is the target: take it out")
    for key, other in others.items():
        if other in told:
            raise ConfigurationError(f"{key}={other}: is the target")
    for taken, does in (
        (about.person, "names persons"),
        (schema.test.column, "tells what is held out"),
    ):
        if taken in schema.features:
            raise ConfigurationError(f"features.{taken}: {does}: take it out")
    shown = getattr(schema.content, "column", None)  # of texts or of images' paths
    for key, other in {"target.column": told[0] if told else None, **others}.items():
        if other is not None and other == shown:
            raise ConfigurationError(f"{key}={other}: is what is learnt from")
    if about.person is None and sites is not None and sites.declared_persons is not None:
        raise ConfigurationError("sites.declared_persons: goes with person, the column of persons")
    _check_files(schema)


def _check_folders(schema: SchemaFile, others: Mapping[str, str | None]) -> None:
    """Refuse columns where there are none."""
    if not isinstance(schema.target, ClassesTarget | OrdinalTarget) or columns_of(schema.target):
        raise ConfigurationError(
            "image.column: must be set, the column with the images' paths: without it images lie "
            "in folders of their classes, and target has no column"
        )
    for key, column in others.items():
        if column is not None:
            raise ConfigurationError(f"{key}={column}: folders have no columns: set image.column")


def _check_files(schema: SchemaFile) -> None:
    about, sites = schema.about, schema.sites
    every = [about.files] if isinstance(about.files, str) else list(about.files.values())
    for name in [*every, *([about.public_pool] if about.public_pool else [])]:
        if name.startswith("~"):
            raise ConfigurationError(
                f"{name}: must be written without ~: in full, or from this file's folder"
            )
    if sites is None:
        if schema.file_each:
            raise ConfigurationError(
                "files: one for each site needs sites.declared_sizes: a rounded public number of "
                "training rows of each"
            )
        return
    if schema.file_each and sites.column is not None:
        raise ConfigurationError(
            f"sites.column={sites.column}: every site has a file of its own: leave it out"
        )
    if not isinstance(about.files, str):
        if differ := sorted(about.files.keys() ^ sites.declared_sizes.keys()):
            raise ConfigurationError(
                f"files and sites.declared_sizes must name the same sites, and {differ[0]} stands "
                "in one of them"
            )
    elif len(sites.declared_sizes) > 1 and not (
        schema.file_each or sites.column or schema.in_folders
    ):
        raise ConfigurationError(
            "sites: which site does a row belong to? set sites.column, or a file for each site, "
            f"as in files: data/{SITE}.csv"
        )
