"""From KEY=VALUE words to one composed configuration, or an error that names the key.

Hydra composes; what it would answer with a traceback is checked before it. Nothing of Hydra's own
is written anywhere.
"""

import difflib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tacit.errors import ConfigurationError

HELPERS: Final = ("recommended",)
"""Keys that only other keys refer to: gone once everything is resolved."""


def composed(
    words: Sequence[str], *, config: str = "config", folder: Path | None = None
) -> dict[str, Any]:
    """Compose a configuration.

    Parameters
    ----------
    words
        KEY=VALUE and GROUP=OPTION, as Hydra takes them.
    config
        The primary configuration.
    folder
        A folder of somebody's own YAML that adds options to the groups.

    Returns
    -------
    dict
        Plain values, everything resolved.

    Raises
    ------
    ConfigurationError
        A word cannot be parsed; a key, group or option is unknown (the nearest right one is
        named); a value is missing; or an own file hides behind one of ours.
    """
    overrides = parse(words)
    options = _options(folder)
    with _hydra():
        search = [] if folder is None else [f"hydra.searchpath=[file://{folder.resolve()}]"]
        chosen = [o for o in overrides if o.key_or_group in options]
        for override in chosen:
            _check_option(override, options)
        try:
            base = compose(config, [*search, *(str(o.input_line) for o in chosen)])
            _check_keys(overrides, base, options)
            full = compose(config, [*search, *words])
            _check_complete(full)
            plain = OmegaConf.to_container(full, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigurationError(_first_line(error)) from error
    if not isinstance(plain, dict):
        raise ConfigurationError(f"{config} is no mapping")
    return {str(key): value for key, value in plain.items() if key not in HELPERS}


def parse(words: Sequence[str]) -> list[Override]:
    """Parse KEY=VALUE words.

    Raises
    ------
    ConfigurationError
        A word has no '=', or its value cannot be read.
    """
    parser = OverridesParser.create()
    found = []
    for word in words:
        try:
            found.append(parser.parse_override(word))
        except HydraException as error:
            raise ConfigurationError(
                f"{word!r} cannot be read as KEY=VALUE ({_first_line(error)}): put quotes around "
                f"a value with special characters, as in 'key=\"a value\"'"
            ) from error
    return found


def jobs(words: Sequence[str]) -> list[list[str]]:
    """Spread words with several values (``a=1,2``) into the words of each job, in order."""
    choices = []
    for word, override in zip(words, parse(words), strict=True):
        if override.is_sweep_override():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([word])
    return [list(job) for job in itertools.product(*choices)]


def packaged_options() -> dict[str, dict[str, str]]:
    """Return, for each group, its packaged options and the line that each has for a person."""
    found: dict[str, dict[str, str]] = {}
    for group in files("conf").iterdir():
        if group.is_dir() and not group.name.startswith("_"):
            options = {
                entry.name.removesuffix(".yaml"): _first_comment(entry.read_text())
                for entry in group.iterdir()
                if entry.name.endswith(".yaml")
            }
            found[group.name] = dict(sorted(options.items()))
    return dict(sorted(found.items()))


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, or all of them where none is near."""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(choices)}"


@contextmanager
def _hydra() -> Iterator[None]:
    with initialize_config_module("conf", version_base=None):
        yield


def _options(folder: Path | None) -> dict[str, set[str]]:
    """Names of the options of each group, ours and those of `folder`."""
    known = {group: set(options) for group, options in packaged_options().items()}
    if folder is None:
        return known
    if not folder.is_dir():
        raise ConfigurationError(f"--config-dir {folder}: there is no such folder")
    for path in sorted(folder.glob("*/*.yaml")):
        own = known.setdefault(path.parent.name, set())
        if path.stem in own:
            # Hydra would silently take the packaged one.
            raise ConfigurationError(
                f"{path}: {path.parent.name}={path.stem} is an option of Tacit's own and cannot "
                f"be replaced: give the file another name"
            )
        own.add(path.stem)
    return known


def _check_option(override: Override, options: dict[str, set[str]]) -> None:
    value = override.value()
    known = options[override.key_or_group]
    if str(value) not in known:
        raise ConfigurationError(
            f"{override.key_or_group}={value}: there is no such option; "
            f"{nearest(str(value), known)}"
        )


def _check_keys(
    overrides: Sequence[Override], base: DictConfig, options: dict[str, set[str]]
) -> None:
    keys = set(_keys(OmegaConf.to_container(base), ""))
    for override in overrides:
        key = override.key_or_group
        if key in options or key in keys or override.is_add() or override.is_force_add():
            continue
        shape = [k for k in keys if k.count(".") == key.count(".")]
        raise ConfigurationError(
            f"{key}: there is no such key here; {nearest(key, {*shape, *options})}"
        )


def _keys(node: object, prefix: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _check_complete(config: DictConfig) -> None:
    if missing := sorted(str(key) for key in OmegaConf.missing_keys(config)):
        raise ConfigurationError(
            f"{', '.join(missing)} must be set: add {missing[0]}=VALUE to the command line"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _first_comment(text: str) -> str:
    for line in text.splitlines():
        if line.startswith("# ") and "@package" not in line:
            return line.removeprefix("# ").strip()
    return ""
