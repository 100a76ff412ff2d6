"""YAML as people take it to be: plain values, each key once, and numbers such as 1e-5.

PyYAML's own reading has traps for whoever writes by hand: of a key that stands twice the last one
counts, ``off`` and ``no`` are false, ``1e-5`` is text, ``010`` is 8, and a few lines of aliases
become gigabytes. Here keys are text, and a plain value is a number, true, false or null as in YAML
1.2, or text.
"""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from tacit.errors import ConfigurationError

LARGEST: Final = 1 << 16
"""Most bytes of a file: whole pages of comments are a tenth of that."""
DEEPEST: Final = 8
"""Most levels of groups and lists within each other."""

_WORDS: Final = {"": None, "~": None, "null": None, "true": True, "false": False}
_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,30}")
_NUMBER: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def read_file(path: Path) -> Any:
    """Read a file of at most `LARGEST` bytes.

    Raises
    ------
    ConfigurationError
        It cannot be read, is too large or is no plain YAML; names the file and the line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise ConfigurationError(f"{path}: has more than {LARGEST} bytes: is it the right file?")
    try:
        return read_text(content.decode())
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is no text in UTF-8: {error.reason}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def read_text(text: str) -> Any:
    """Read one document.

    Returns
    -------
    dict, list, str, int, float, bool or None
        Plain values; keys are text.

    Raises
    ------
    ConfigurationError
        It is no YAML, or has a key twice, a tag, an alias or too many levels; names the line.
    """
    try:
        _check_form(text)
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise ConfigurationError(f"{line}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML takes any number for a letter's or a version's.
        raise ConfigurationError(f"is no YAML: {' '.join(str(error).split())}") from error
    return None if node is None else _value(node)


def plain_value(text: str) -> str | int | float | bool | None:
    """Tell what a text means that stands without quotation marks."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _check_form(text: str) -> None:
    """Refuse what has no place in settings, before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _wrong(event, f"*{event.anchor}: write the value out")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
            raise _wrong(event, f"{event.tag}: leave tags out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise _wrong(event, f"more than {DEEPEST} levels within each other")


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(each) for each in node.value]
    # In quotation marks, or a block: text, whatever it looks like.
    in_marks = isinstance(node, yaml.ScalarNode) and node.style is not None
    return node.value if in_marks else plain_value(node.value)


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _wrong(key, "a key must be a word")
        if key.value in found:
            raise _wrong(key, f"{key.value} stands here for the second time")
        found[key.value] = _value(value)
    return found


def _wrong(at: yaml.Event | yaml.Node, said: str) -> ConfigurationError:
    line = f"line {at.start_mark.line + 1}: " if at.start_mark else ""
    return ConfigurationError(f"{line}{said}")
