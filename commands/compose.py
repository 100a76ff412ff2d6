"""From KEY=VALUE words to one composed configuration, or an error that names the key.

Hydra composes; what it would answer with a traceback is checked before it. Nothing of Hydra's own
is written anywhere.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from commands.options import Options, options
from tacit.errors import ConfigurationError
from tacit.nearest import match, nearest
from tacit.refused import STRATEGIES

HELPERS: Final = ("recommended",)
"""Keys that only other keys refer to: gone once everything is resolved."""

PLACES: Final = {"partition": "domain.partition"}
"""Where the keys of a group lie that is part of another one; only some of its options have it."""

NOT_DEALT_OUT: Final = (
    "the sites of this domain are given, not dealt out; domain=digits has domain.partition"
)


def composed(words: Sequence[str], *, folder: Path | None = None) -> dict[str, Any]:
    """Compose a configuration.

    Parameters
    ----------
    words
        KEY=VALUE and GROUP=OPTION, as Hydra takes them.
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
    known = options(folder)
    search = (
        [] if folder is None else [f"hydra.searchpath=[{quoted(f'file://{folder.resolve()}')}]"]
    )
    chosen = [o for o in overrides if o.key_or_group in known]
    for override in overrides:
        _check_form(override)
    for override in chosen:
        _check_option(override, known)
    try:
        with initialize_config_module("conf", version_base=None):
            base = compose(
                "config",
                [*search, *(str(o.input_line) for o in chosen)],
                return_hydra_config=True,
            )
            _check_keys([o for o in overrides if o not in chosen], base, known)
            full = compose("config", [*search, *words])
            _check_complete(full)
            plain = OmegaConf.to_container(full, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigurationError(_without_place(chosen, error) or _in_words(error)) from error
    if not isinstance(plain, dict):
        raise ConfigurationError("the configuration is no mapping")
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
        key, equals, _ = word.partition("=")
        if not (key and equals) and not word.startswith("~"):
            known = [f"{group}={option}" for group, own in options().items() for option in own]
            raise ConfigurationError(
                f"{word!r} is not KEY=VALUE or GROUP=OPTION; {nearest(word, known)}"
            )
        try:
            found.append(parser.parse_override(word))
        except HydraException as error:
            raise ConfigurationError(
                f"{word!r} cannot be read ({_in_words(error)}): put a value with special "
                f"characters in two kinds of quotes, as in {_in_quotes(word)}"
            ) from error
    return found


def quoted(text: str) -> str:
    """Write a text as a value that Hydra reads back as it is."""
    return "'" + text.replace("'", "\\'") + "'"


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


def _check_form(override: Override) -> None:
    """Refuse what Hydra's grammar allows and a run has no use for."""
    line = str(override.input_line)
    if override.is_sweep_override():
        raise ConfigurationError(
            f"{line}: several values need --multirun; one value with a comma needs two kinds of "
            f"quotes, as in {_in_quotes(line)}"
        )
    if override.package is not None:
        raise ConfigurationError(f"{line}: a group has one place: leave '@' out")


def _check_option(override: Override, known: Options) -> None:
    group = override.key_or_group
    if override.is_delete():
        raise ConfigurationError(
            f"{override.input_line}: a run needs one: {group}={'|'.join(known[group])}"
        )
    value = str(override.value())
    if value not in known[group]:
        refused = {name.lower(): why for name, why in STRATEGIES.items()}
        if group == "strategy" and value.lower() in refused:
            raise ConfigurationError(f"{override.input_line} is refused: {refused[value.lower()]}")
        raise ConfigurationError(
            f"{override.input_line}: there is no such option; {nearest(value, known[group])}"
        )


def _check_keys(overrides: Sequence[Override], base: DictConfig, known: Options) -> None:
    """Refuse a key that is not there; options of a class (below ``_target_``) may come and go."""
    chosen = base.hydra.runtime.choices
    plain = OmegaConf.to_container(base)
    keys = {k for k in _keys(plain, "") if not k.startswith(("hydra", *HELPERS))}
    for override in overrides:
        key = override.key_or_group
        of_class = any(
            f"{key[:dot]}._target_" in keys for dot, letter in enumerate(key) if letter == "."
        )
        added = override.is_add() or override.is_force_add()
        if key not in keys and not (of_class and added):
            raise ConfigurationError(f"{key}: {_instead(key, keys, chosen, known)}")
        value, below = override.value(), sorted(k for k in keys if k.startswith(f"{key}."))
        if below and value is not None and not isinstance(value, dict):
            raise ConfigurationError(
                f"{override.input_line}: {key} is no single value: set {', '.join(below)}"
            )
        if override.is_delete() and not of_class:
            raise ConfigurationError(
                f"{override.input_line}: this key cannot be taken away: set it to a value"
            )


def _instead(key: str, keys: set[str], chosen: DictConfig, known: Options) -> str:
    """Say what may have been meant by a key that is not there."""
    group, _, rest = key.partition(".")
    for inner, place in PLACES.items():
        if key.startswith(f"{place}."):
            group, rest = inner, key.removeprefix(f"{place}.")
    if group in PLACES and group not in chosen:
        return f"there is no such key: {NOT_DEALT_OUT}"
    if f"{PLACES.get(group)}.{rest}" in keys:
        return f"there is no such key; did you mean '{PLACES[group]}.{rest}'?"
    others = [
        option
        for option, path in sorted(known.get(group, {}).items())
        if {key, rest} & set(_keys(yaml.safe_load(path.read_text(encoding="utf-8")), ""))
    ]
    if others and chosen[group] is None:
        return f"there is no such key without {group}={'|'.join(others)}"
    if others:
        return f"{group}={chosen[group]} has no such key, {group}={'|'.join(others)} has"
    parent, _, last = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in keys if k.rpartition(".")[0] == parent}
    # Of several keys with one name, the shortest.
    names = {k.rpartition(".")[2]: k for k in sorted(keys, key=len, reverse=True)}
    everywhere = {} if siblings else {k: k for k in keys}
    exact = {last: names[last]} if last in names else {}
    for word, among in ((last, exact), (last, siblings), (last, names), (key, everywhere)):
        if meant := match(word, among):
            return f"there is no such key; did you mean {among[meant]!r}?"
    if parent and siblings:
        return f"there is no such key; {parent} has {', '.join(sorted(siblings))}"
    return "there is no such key; --show prints all there are"


def _keys(node: object, prefix: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def _check_complete(config: DictConfig) -> None:
    if missing := sorted(str(key) for key in OmegaConf.missing_keys(config)):
        raise ConfigurationError(_must_be_set(missing))


def _must_be_set(keys: Sequence[str]) -> str:
    return f"{', '.join(keys)} must be set: add {keys[0]}=VALUE to the command line"


def _in_quotes(word: str) -> str:
    """Write a word so that shell and Hydra leave its value as it is."""
    key, _, value = word.partition("=")
    bare = value.strip("'\"")
    return f"{key}='\"{bare}\"'"


def _without_place(chosen: Sequence[Override], error: Exception) -> str | None:
    """Say that a group was chosen that has no place in what else was; None for another error."""
    for override in chosen:
        group = override.key_or_group
        if group in PLACES and str(error).startswith(f"Could not override '{group}'"):
            return f"{override.input_line}: {NOT_DEALT_OUT}"
    return None


def _in_words(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: {error.problem}"
    key = getattr(error, "full_key", None)
    text = str(error).strip().splitlines()[0]
    if isinstance(error, InterpolationToMissingValueError):
        return _must_be_set([text.rpartition(" ")[2]])
    return f"{key}: {text}" if key else text
