"""Options of a run's command line, apart from its KEY=VALUE words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tacit.errors import ConfigurationError
from tacit.nearest import nearest

OPTIONS: Final = ("--help", "--version", "--list", "--multirun", "--config-dir", "--show")


@dataclass(frozen=True, slots=True)
class Arguments:
    """A command line: words for Hydra, and what is no word."""

    words: list[str]
    multirun: bool = False
    show: bool = False
    list: bool = False
    config_dir: Path | None = None


def split(given: Sequence[str]) -> Arguments:
    """Divide a command line into words and options.

    Raises
    ------
    ConfigurationError
        An option is unknown or lacks its value.
    """
    words: list[str] = []
    multirun = show = lists = False
    folder: Path | None = None
    rest = iter(given)
    for word in rest:
        if word in ("-m", "--multirun"):
            multirun = True
        elif word == "--show":
            show = True
        elif word == "--list":
            lists = True
        elif word == "--config-dir" or word.startswith("--config-dir="):
            value = word.partition("=")[2] or next(rest, "")
            if not value:
                raise ConfigurationError("--config-dir needs a folder: --config-dir DIR")
            folder = Path(value).expanduser()
        elif word.startswith("-"):
            raise _unknown(word)
        else:
            words.append(_expanded(word))
    return Arguments(words, multirun, show, lists, folder)


def _expanded(word: str) -> str:
    """Expand ``KEY=~/path``, which a shell leaves alone because of the dot in most keys."""
    key, _, value = word.partition("=")
    return f"{key}={Path(value).expanduser()}" if value.startswith("~/") else word


def _unknown(word: str) -> ConfigurationError:
    plain = word.lstrip("-")
    if "=" in plain:
        return ConfigurationError(f"{word}: keys are written without dashes: {plain}")
    return ConfigurationError(f"{word}: there is no such option; {nearest(word, OPTIONS)}")
