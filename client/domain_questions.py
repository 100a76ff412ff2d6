"""Questions of `tacit-domain init`: what is public about each column, by heart and not by rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import click
import typer

from tacit.domains.own.draft import Said, Wishes
from tacit.domains.own.schema_targets import TARGETS
from tacit.plain_yaml import plain_value

T = TypeVar("T")

OPEN: Final = "?"
"""An answer that leaves a place open."""
PARTS: Final = {
    "n": "number",
    "c": "codes",
    "t": "target",
    "s": "site",
    "p": "person",
    "": "left out",
}

INTRODUCTION: Final = """\
Answer by what is publicly known. Do not look at the rows: a range or a list that is read off them
tells about the people in them. Enter leaves a column out; ? leaves an answer open in the draft.
"""


def asked(names: Sequence[str], wishes: Wishes) -> Wishes:
    """Ask about each column that has no part yet.

    Parameters
    ----------
    names
        The columns; none of a folder of images.
    wishes
        What was said on the command line.
    """
    typer.echo(INTRODUCTION)
    table = wishes.text is None and wishes.image is None
    if names:
        wishes = _columns(names, wishes, table=table)
    answers = _target()
    typer.echo("Sites, with a rounded public number of training rows of each:")
    sizes = _answer("  such as north=200 south=150", _sizes)
    return replace(wishes, answers=answers, sizes=sizes or {})


def _columns(names: Sequence[str], wishes: Wishes, *, table: bool) -> Wishes:
    taken = (wishes.target, wishes.site, wishes.person, wishes.text, wishes.image)
    features: dict[str, Said | None] = {}
    for name in names:
        if name in taken:
            continue
        open_parts = {"t": wishes.target, "s": wishes.site, "p": wishes.person}
        keys = [key for key in PARTS if open_parts.get(key) is None and (table or key not in "nc")]
        shown = ", ".join(f"{key or 'enter'}: {PARTS[key]}" for key in keys)
        part = _answer(f"{name} ({shown})", _one_of(keys), default="")
        if part in ("n", "c", None):
            features[name] = {"n": _number, "c": _codes}[part]() if part else None
        elif part == "t":
            wishes = replace(wishes, target=name)
        elif part == "s":
            wishes = replace(wishes, site=name)
        elif part == "p":
            wishes = replace(wishes, person=name)
    return replace(wishes, features=features) if table else wishes


def _number() -> Said | None:
    valid = _answer("  lowest and highest that can be right, such as 0 120", _range)
    if valid is None:
        return None
    typical = _answer("  low and high that most have (enter: the same)", _range, default=valid)
    missing = typer.confirm("  may cells be empty?", default=False)
    said: dict[str, Any] = {"number": valid}
    if typical is not None and typical != valid:
        said["typical"] = typical
    return {**said, "missing": ""} if missing else said


def _codes() -> Said | None:
    codes = _answer("  all that there are, with commas between them", _list)
    return None if codes is None else {"codes": codes}


def _target() -> Said:
    task = _answer(f"What is to be told ({', '.join(TARGETS)})", _one_of(list(TARGETS)))
    if task in ("classes", "ordinal"):
        order = ", from lowest to highest" if task == "ordinal" else ""
        names = _answer(f"  all classes as they stand in the file{order}", _list)
        return {"task": task, "classes": names}
    if task == "number":
        return {"task": task, "number": _answer("  lowest and highest that can be right", _range)}
    if task == "labels":
        return {"task": task, "labels": _answer("  the columns of labels, with commas", _names)}
    return {}


def _answer(question: str, read: Callable[[str], T], default: T | None = None) -> T | None:
    """Ask until the answer can be read; None where it is left open."""

    def checked(text: object) -> Any:
        if text == OPEN:
            return None
        if not isinstance(text, str):
            return default
        try:
            return read(text)
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    found: T | None = typer.prompt(
        question, default=default, show_default=False, value_proc=checked
    )
    return found


def _one_of(words: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.strip() not in words:
            raise ValueError(f"{text!r} is none of {', '.join(map(repr, words))}")
        return text.strip()

    return read


def _range(text: str) -> list[float | int]:
    found = [plain_value(part) for part in text.replace(",", " ").split()]
    numbers = [
        each for each in found if isinstance(each, int | float) and not isinstance(each, bool)
    ]
    if len(found) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise ValueError(f"{text!r} must be two numbers, the lower first")
    return numbers


def _names(text: str) -> list[str]:
    words = [part.strip() for part in text.split(",")]
    if "" in words or len(set(words)) < len(words):
        raise ValueError(f"{text!r} must be names, each once, with commas between them")
    return words


def _list(text: str) -> list[str | int | float]:
    """Read codes: as numbers where all are numbers, as text otherwise."""
    words = [part.strip() for part in text.split(",")]
    if len(words) < 2 or len(set(words)) < len(words):
        raise ValueError(f"{text!r} must be two or more, each once, with commas between them")
    numbers = [
        each
        for each in map(plain_value, words)
        if isinstance(each, int | float) and not isinstance(each, bool)
    ]
    return [*numbers] if len(numbers) == len(words) else [*words]


def _sizes(text: str) -> dict[str, int]:
    pairs = [part.partition("=") for part in text.replace(",", " ").split()]
    if not pairs or not all(site and size.isdecimal() and int(size) for site, _, size in pairs):
        raise ValueError(f"{text!r} must be names and numbers, as in north=200")
    return {site: int(size) for site, _, size in pairs}
