"""JSON of frozen dataclasses, both ways.

JSON has no infinity: an infinite ε is the string ``"infinity"``. No other number may be infinite,
and none may be NaN.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

from tacit.errors import RunDirectoryError, TacitError
from tacit.files import replace_file

INFINITY: Final = "infinity"
EPSILON_KEYS: Final = frozenset({"epsilon", "epsilon_budget", "epsilon_changed", "epsilon_overlap"})

T = TypeVar("T")


def encode(value: Any) -> Any:
    """Plain JSON values of a dataclass, mapping or sequence.

    Raises
    ------
    TacitError
        A number is NaN, or infinite and not at or under a key of `EPSILON_KEYS`.
    """
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return _encode(plain, "", may_be_infinite=False)


def _encode(value: Any, where: str, *, may_be_infinite: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            str(key): _encode(
                item, f"{where}.{key}", may_be_infinite=may_be_infinite or key in EPSILON_KEYS
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            _encode(item, f"{where}[{n}]", may_be_infinite=may_be_infinite)
            for n, item in enumerate(value)
        ]
    if isinstance(value, float) and not math.isfinite(value):
        if may_be_infinite and value == math.inf:
            return INFINITY
        raise TacitError(
            f"{where.lstrip('.')} is {value}, which JSON cannot say: write None and give a reason"
        )
    return value


def decode(kind: type[T], value: Any, where: str) -> T:
    """Make a dataclass of what `encode` wrote; unknown keys are left out.

    Raises
    ------
    RunDirectoryError
        A field is missing or of another kind; the message starts with `where`.
    """
    made: T = _decode(kind, value, where, may_be_infinite=False)
    return made


def _decode(kind: Any, value: Any, where: str, *, may_be_infinite: bool) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        if value is None:
            return None
        (kind,) = (argument for argument in arguments if argument is not NoneType)
        return _decode(kind, value, where, may_be_infinite=may_be_infinite)
    if origin is Mapping and isinstance(value, dict):
        return {
            key: _decode(arguments[1], item, f"{where}.{key}", may_be_infinite=may_be_infinite)
            for key, item in value.items()
        }
    if origin is tuple and isinstance(value, list):
        return tuple(
            _decode(arguments[0], item, f"{where}[{n}]", may_be_infinite=may_be_infinite)
            for n, item in enumerate(value)
        )
    if is_dataclass(kind) and isinstance(value, dict):
        return _decode_dataclass(kind, value, where)
    if kind is float:
        if may_be_infinite and value == INFINITY:
            return math.inf
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif isinstance(kind, type) and issubclass(kind, StrEnum):
        if value in list(kind):
            return kind(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise RunDirectoryError(
        f"{where} is {json.dumps(value)[:100]}, not {getattr(kind, '__name__', kind)}: "
        "was it written by another version, or changed by hand?"
    )


def _decode_dataclass(kind: Any, value: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    made = {}
    for item in fields(kind):
        if item.name in value:
            made[item.name] = _decode(
                hints[item.name],
                value[item.name],
                f"{where}.{item.name}",
                may_be_infinite=item.name in EPSILON_KEYS,
            )
        elif item.default is MISSING and item.default_factory is MISSING:
            raise RunDirectoryError(
                f"{where} lacks {item.name!r}: was it written by another version?"
            )
    return kind(**made)


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never a part.

    Raises
    ------
    RunDirectoryError
        The file cannot be written (the disk is full, the folder is read-only).
    """
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise RunDirectoryError(
            f"{path} cannot be written: {error}: free space, or choose another run.dir"
        ) from error
