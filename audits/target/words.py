"""Words of ``tacit-audit target=...``: where the client is, what it is given, what it claims."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audits.target.claims import Claim, Value, read_claim
from tacit.errors import ConfigurationError
from tacit.nearest import nearest

PLACES: Final = ("target", "target.weights", "target.rows")
CONFIGS: Final = ("target.run_config", "target.node_config", "target.config")
_DOMAIN: Final = ("domain", "partition")


@dataclass(frozen=True, slots=True)
class TargetWords:
    """What is to be audited, and how.

    Parameters
    ----------
    app, weights
        ``package.module:name`` of the ClientApp, and of what gives the weights that it is sent.
    rows
        ``package.module:name`` of what takes the audit's rows; '' where the client keeps its own.
    run_config, node_config, config
        Of the client's context, and of the message.
    claim
        What is claimed.
    domain
        Words that say what rows look like.
    out
        Where audit.json goes, if anywhere.
    """

    app: str
    weights: str
    rows: str
    run_config: Mapping[str, Value]
    node_config: Mapping[str, Value]
    config: Mapping[str, Value]
    claim: Claim
    domain: tuple[str, ...]
    out: Path | None


def read_words(words: Sequence[str]) -> TargetWords:
    """Read a command line.

    Raises
    ------
    ConfigurationError
        Names the word that is unknown, twice there, missing or wrong.
    """
    plain: dict[str, str] = {}
    given: dict[str, dict[str, Value]] = {name: {} for name in (*CONFIGS, "claim")}
    domain = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not text:
            raise ConfigurationError(f"{word}: a word is KEY=VALUE")
        group = next((name for name in given if key.startswith(f"{name}.")), None)
        if group:
            _once(given[group], key.removeprefix(f"{group}."), key)
            given[group][key.removeprefix(f"{group}.")] = _value(text)
        elif key.partition(".")[0] in _DOMAIN:
            domain.append(word)
        elif key in (*PLACES, "out"):
            _once(plain, key, key)
            plain[key] = text
        else:
            known = (*PLACES, "out", "domain", *(f"{name}.KEY" for name in given))
            raise ConfigurationError(f"{key}: there is no such key; {nearest(key, known)}")
    for key in ("target", "target.weights"):
        if key not in plain:
            raise ConfigurationError(f"{key}=PACKAGE.MODULE:NAME is missing{_WEIGHTS[key]}")
    if ("target.rows" in plain) != bool(domain):
        raise ConfigurationError(
            "target.rows=PACKAGE.MODULE:NAME and domain=NAME go together: the one takes rows that "
            "look like the other's"
        )
    out = Path(plain["out"]).expanduser() if "out" in plain else None
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigurationError(f"out={out}: there is no folder {out.absolute().parent}")
    return TargetWords(
        plain["target"],
        plain["target.weights"],
        plain.get("target.rows", ""),
        given["target.run_config"],
        given["target.node_config"],
        given["target.config"],
        read_claim(given["claim"]),
        tuple(domain),
        out,
    )


_WEIGHTS: Final = {
    "target": "",
    "target.weights": ": a function or class, called without arguments, that gives the weights "
    "that a server would send (a torch module, a mapping or a list of arrays)",
}


def _once(found: Mapping[str, object], name: str, key: str) -> None:
    if name in found:
        raise ConfigurationError(f"{key} is there twice")


def _value(text: str) -> Value:
    """Read a value as Flower's own configuration does: a truth value, a number or a text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # A text 'nan' or 'inf' is a text.
        if math.isfinite(number):
            return number
    return text.strip("'\"")
