"""Options of a run's command line, apart from its KEY=VALUE words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tacit.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Arguments:
    """A command line: words for Hydra, and what is no word."""

    words: list[str]
    multirun: bool = False
    show: bool = False
    config_dir: Path | None = None


def split(given: Sequence[str]) -> Arguments:
    """Divide a command line into words and options.

    Raises
    ------
    ConfigurationError
        An option is unknown or lacks its value.
    """
    words: list[str] = []
    multirun = show = False
    folder: Path | None = None
    rest = iter(given)
    for word in rest:
        if word in ("-m", "--multirun"):
            multirun = True
        elif word == "--show":
            show = True
        elif word == "--config-dir" or word.startswith("--config-dir="):
            value = word.partition("=")[2] or next(rest, "")
            if not value:
                raise ConfigurationError("--config-dir needs a folder: --config-dir DIR")
            folder = Path(value)
        elif word.startswith("-") and "=" not in word:
            raise ConfigurationError(f"{word}: there is no such option: see --help")
        else:
            words.append(word)
    return Arguments(words, multirun, show, folder)
