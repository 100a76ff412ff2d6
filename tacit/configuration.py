"""From a plain mapping, as YAML gives it, to settings; errors name the key, the value and the way.

>>> read_settings({"name": "heart_disease", "seed": 0, ...})
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from tacit.errors import ConfigurationError
from tacit.settings import Settings

T = TypeVar("T")


def read_settings(mapping: Mapping[str, Any]) -> Settings:
    """Read settings from a plain mapping.

    Raises
    ------
    ConfigurationError
        A key is unknown, missing or out of range; the message names it and the value.
    """
    return read_as(Settings, _with_components(mapping))


def read_as(kind: type[T], mapping: Mapping[str, Any]) -> T:
    """Read any of our dataclasses of settings from a plain mapping.

    Raises
    ------
    ConfigurationError
        A key is unknown, missing or out of range; the message names it and the value.
    """
    try:
        return TypeAdapter(kind).validate_python(mapping)
    except ValidationError as error:
        raise ConfigurationError(_in_words(error)) from error


def _with_components(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Gather ``_target_`` and its options into a `Component` wherever they stand."""
    found = {**mapping}
    for group in ("domain", "strategy"):
        found[group] = _component(mapping.get(group))
    audit = mapping.get("audit")
    if isinstance(audit, Mapping):
        found["audit"] = _component(audit) if audit.get("_target_") else None
    model = mapping.get("model")
    if isinstance(model, Mapping):
        found["model"] = {**model, "architecture": _component(model.get("architecture"))}
    return found


def _component(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    options = {key: value for key, value in node.items() if key not in ("_target_", "name")}
    found = {"name": node.get("name"), "target": node.get("_target_"), "options": options}
    return {key: value for key, value in found.items() if value is not None}


_UNION_BRANCH = re.compile(r"record|none|(str-)?enum.*|literal\[.*|constrained-.*|dict\[.*|.*\(.*")
"""How pydantic names the branch of a union in the place of an error: not a key of ours."""


_MUST_BE: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text (write ./NAME where the name of a file is a number)",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dataclass_type": "a group of keys",
    "dict_type": "a group of keys",
    "mapping_type": "a group of keys",
    "tuple_type": "a list, as [first, second]",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt:g}",
}
"""What a value must be, by pydantic's type of error; the fields are of the error's context."""


def _in_words(error: ValidationError) -> str:
    """Say a sentence for each key, also where a value could have been one of several kinds."""
    wanted: dict[str, list[str]] = {}
    for each in error.errors():
        # A component's class stands within its group; a schema file's target stands by itself.
        parts = ["_target_" if at and p == "target" else str(p) for at, p in enumerate(each["loc"])]
        key = ".".join(part for part in parts if not _UNION_BRANCH.fullmatch(part))
        if each["type"] in _MUST_BE:
            must_be = _MUST_BE[each["type"]].format(**each.get("ctx", {}))
            wanted.setdefault(f"{key}{_shown(each['input'])}: must be ", []).append(must_be)
        elif each["type"] == "unexpected_keyword_argument":
            wanted[f"{key}: there is no such key"] = []
        elif each["type"] == "missing":
            wanted[f"{key}: must be set"] = []
        else:
            message = each["msg"].removeprefix("Value error, ")
            wanted[f"{key}: {message}" if key else message] = []
    return "; ".join(said + " or ".join(kinds) for said, kinds in wanted.items())


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ""
    return f"={json.dumps(value) if value is None or isinstance(value, bool) else value}"
