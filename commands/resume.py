"""The configuration of a run that is to go on: the one it was made with, and no other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from commands.compose import parse
from commands.options import options
from tacit.errors import ConfigurationError, RunDirectoryError
from tacit.nearest import nearest
from tacit.runs.directory import read_config

MAY_DIFFER: Final = frozenset(
    {"engine.device", "engine.threads", "engine.workers", "engine.chunk", "cache"}
)
"""Keys of a resumed run that say where it is computed, not what."""

_NAME_OF: Final = {
    "domain": "domain.name",
    "model": "model.architecture.name",
    "strategy": "strategy.name",
    "privacy": "privacy.kind",
    "engine": "engine.kind",
    "audit": "audit.name",
    "partition": "domain.partition.name",
}


def resumed(words: Sequence[str]) -> dict[str, Any] | None:
    """Return the configuration of the run that ``run.resume`` names; None for a new run.

    Raises
    ------
    ConfigurationError
        A key is unknown.
    RunDirectoryError
        The run cannot be read, or a word asks for another value than the run was made with.
    """
    overrides = parse(words)
    paths = [o.value() for o in overrides if o.key_or_group == "run.resume"]
    if not paths or paths[-1] is None:
        return None
    run = Path(str(paths[-1]))
    config = read_config(run)
    groups = options()
    for override in overrides:
        key = override.key_or_group
        if key == "run.resume":
            continue
        asked = override.value()
        if key in groups:
            key, asked = _NAME_OF[key], str(asked)
        node, last = _parent(config, key)
        if key in MAY_DIFFER:
            node[last] = asked
        elif not _same(node[last], asked):
            raise RunDirectoryError(
                f"run.resume={run}: {key}={asked} was asked for, but the run was made with "
                f"{key}={node[last]}: leave the key out to go on, or start a new run"
            )
    config["run"] = {"dir": None, "resume": str(run)}
    return config


def _parent(config: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Find the mapping that holds a dotted key."""
    *path, last = key.split(".")
    node: Any = config
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        known = list(node) if isinstance(node, dict) else list(config)
        raise ConfigurationError(
            f"{key}: there is no such key in the run's configuration; {nearest(last, known)}"
        )
    return node, last


def _same(own: object, asked: object) -> bool:
    if isinstance(own, int | float) and isinstance(asked, int | float):
        return float(own) == float(asked)
    return str(own) == str(asked) or own == asked
