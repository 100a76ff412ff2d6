"""What a coordinator's process needs beside the experiment: ``server.KEY=VALUE``."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, with_config

from tacit.configuration import read_as
from tacit.errors import ConfigurationError
from tacit.nearest import nearest
from tacit.plain_yaml import plain_value
from tacit.privacy_settings import Positive

PREFIX: Final = "server."
_TEXTS: Final = frozenset({"bundle", "host", "log"})
"""Keys whose value is text, whatever it looks like."""

_LAST_PORT: Final = 65535

Port = Annotated[int, Field(strict=True)]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class ServerSettings:
    """How the coordinator's process serves.

    Parameters
    ----------
    bundle
        Folder from tacit-provision, with certificate, key and roster.
    host
        Address to listen at; 0.0.0.0 for all of this machine.
    port, watch_port
        For sites, and for tacit-watch; 0 takes any that is free.
    wait
        Longest time in seconds to wait for enough sites, at the start and after they were lost.
    round_timeout
        Seconds after which a site that has not answered a round is missing from it.
    heartbeat
        Seconds between two signs of life of a site; after two it counts as gone.
    log
        'text' for people, 'json' for one JSON object a line.
    """

    bundle: Path
    host: str = "0.0.0.0"
    port: Port = 9443
    watch_port: Port = 9444
    wait: Positive = 3600.0
    round_timeout: Positive = 600.0
    heartbeat: Positive = 30.0
    log: Literal["text", "json"] = "text"


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class _Words:
    """The words with `PREFIX`, so that an error names the whole key."""

    server: ServerSettings


def split_words(words: Sequence[str]) -> tuple[ServerSettings, list[str]]:
    """Divide a command line into the process's settings and the experiment's words.

    Raises
    ------
    ConfigurationError
        A key is unknown, missing, said twice or out of range; names it.
    """
    known = [f"{PREFIX}{field.name}" for field in fields(ServerSettings)]
    found: dict[str, Any] = {}
    rest = []
    for word in words:
        key, _, value = word.partition("=")
        if not key.startswith(PREFIX):
            rest.append(word)
            continue
        if key not in known:
            raise ConfigurationError(f"{key}: there is no such key; {nearest(key, known)}")
        if not value:
            raise ConfigurationError(f"{key}: a key needs its value: {key}=VALUE")
        name = key.removeprefix(PREFIX)
        if name in found:
            raise ConfigurationError(f"{word}: {key}={found[name]} was said before")
        found[name] = value if name in _TEXTS else plain_value(value)
    own = read_as(_Words, {"server": found}).server
    _check(own)
    return own, rest


def _check(own: ServerSettings) -> None:
    """Refuse what is out of range, and what no single key shows."""
    for name in ("port", "watch_port"):
        if not 0 <= getattr(own, name) <= _LAST_PORT:
            raise ConfigurationError(
                f"{PREFIX}{name}={getattr(own, name)}: a port is from 0 to {_LAST_PORT}"
            )
    if own.port == own.watch_port != 0:
        raise ConfigurationError(
            f"{PREFIX}port={own.port} is {PREFIX}watch_port too: sites and watchers need one each"
        )
