"""Where tacit-pretrain writes, what it has made there, and what is to be typed next."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tacit.errors import ConfigurationError

REPORT: Final = "pretraining.html"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pretraining is written.

    Parameters
    ----------
    out
        The model: a file, or a folder of transformers.
    page
        The report.
    checkpoint
        Where the work is kept while it is not done.
    """

    out: Path
    page: Path
    checkpoint: Path


@dataclass(frozen=True, slots=True)
class Done:
    """A pretraining that is written.

    Parameters
    ----------
    kind
        Of modelling.
    said
        What was measured, a line each.
    then
        What to type next.
    """

    kind: str
    said: tuple[str, ...]
    then: str


def file_place(out: str) -> Place:
    """Return where weights go that are a file and two beside it.

    Raises
    ------
    ConfigurationError
        It is no such name, or something is there already.
    """
    if not out.endswith(".safetensors"):
        raise ConfigurationError(f"{_given(out)}say where to write: out=PATH.safetensors")
    path = Path(out)
    place = Place(path, path.with_suffix(".html"), path.with_suffix(".checkpoint"))
    # The report comes before the weights: where work is left to do, it is from a stop between them.
    pages = () if place.checkpoint.exists() else (place.page,)
    for file in (path, path.with_suffix(".json"), *pages):
        _check_free(file)
    return place


def folder_place(out: str) -> Place:
    """Return where a model of transformers goes, which is a folder.

    Raises
    ------
    ConfigurationError
        It is the name of a file, or something is there already.
    """
    if not out or out.endswith(".safetensors"):
        raise ConfigurationError(
            f"{_given(out)}a model of transformers is written as a folder: say where: out=FOLDER"
        )
    folder = Path(out)
    _check_free(folder)
    return Place(folder, folder / REPORT, folder.with_name(f"{folder.name}.checkpoint"))


def next_command(words: Sequence[str], folder: Path | None, chosen: Mapping[str, object]) -> str:
    """Return the command of a run that starts from the model.

    Parameters
    ----------
    words
        What was typed.
    folder
        Of --config-dir.
    chosen
        Keys of the model in the run, which replace those of the words; None takes one away.
    """
    kept = []
    for word in words:
        key = word.partition("=")[0].lstrip("+~")
        if key not in chosen and not key.startswith("model.pretraining"):
            kept.append(word)
    kept += [f"{k}={_quoted(str(value))}" for k, value in chosen.items() if value is not None]
    option = [] if folder is None else ["--config-dir", str(folder)]
    return shlex.join(["tacit-simulate", *option, *kept])


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w./-]+", value):
        return value
    # For Hydra; a shell's quotes, which come around the word, are single ones.
    return '"' + value.replace('"', '\\"') + '"'


def _given(out: str) -> str:
    return f"out={out}: " if out else ""


def _check_free(path: Path) -> None:
    if path.exists():
        raise ConfigurationError(f"{path}: is there already: choose another, or remove it")
