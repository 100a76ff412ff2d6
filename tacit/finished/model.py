"""The model of a finished run, loaded from its directory: neither rows nor their files are needed.

What must be known of the domain (its card and the shape of an example) stands in model.json. So
does the name of the file of pretrained weights, where Tacit made one: the cache may have it still,
and only without it is the domain's public pool needed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from tacit.components import make
from tacit.configuration import read_settings
from tacit.domains.domain import Card, Domain, SiteData
from tacit.errors import ConfigurationError, InputError, ModelError, RunDirectoryError
from tacit.experiment import Prepared, build_model, cache_of
from tacit.models.reading import ReadDomain, Reading, read_domain
from tacit.models.trainable import load_trainable, sha256_of
from tacit.models.weights import load_weights
from tacit.runs.directory import CONFIG, MODEL, RESULTS, read_config
from tacit.runs.encoding import decode, encode
from tacit.runs.results import Results, read
from tacit.settings import Settings

LISTED: Final = 10_000
"""Most sites of which model.json gives the declared size."""
CPU: Final = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Told:
    """What model.json tells of a domain; it is a `Domain` without rows.

    Parameters
    ----------
    card
        What a person is told.
    inputs
        Shape of one example, before any reader.
    declared_sizes
        Public size of each site; empty where there are more than `LISTED`.
    """

    card: Card
    inputs: tuple[int, ...]
    declared_sizes: Mapping[str, int]

    @property
    def groups(self) -> tuple[slice, ...]:
        """Nothing is pretrained on it."""
        return ()

    def load(self) -> Mapping[str, SiteData]:
        """Return nothing: there are no rows."""
        return {}

    def public_pool(self) -> torch.Tensor | None:
        """Return None: there are no rows."""
        return None


@dataclass(frozen=True, slots=True)
class RunModel:
    """A run and its final model.

    Parameters
    ----------
    path
        The run's directory.
    settings
        With which it was made.
    results
        What it came to.
    domain
        What is known of its domain.
    module
        The model, in evaluation mode on the CPU, for examples that were read.
    reading
        How examples are read; None where the model takes them as they are.
    """

    path: Path
    settings: Settings
    results: Results
    domain: Told
    module: nn.Module
    reading: Reading | None

    @property
    def card(self) -> Card:
        """What a person is told of the domain."""
        return self.domain.card


def described(prepared: Prepared) -> dict[str, object]:
    """Return what model.json says, so that `load_run` needs neither rows nor their files."""
    sizes = prepared.declared_sizes
    told = Told(prepared.card, prepared.shared.inputs, sizes if len(sizes) <= LISTED else {})
    file = prepared.shared.file
    return {"domain": encode(told), "starts_from": None if file is None else file.name}


def load_run(path: Path, moved: Mapping[str, str] | None = None) -> RunModel:
    """Load the final model of a run, simulated or a coordinator's.

    Parameters
    ----------
    path
        The run's directory.
    moved
        Keys of its configuration whose files or folders lie elsewhere by now, with where.

    Raises
    ------
    RunDirectoryError
        It is no run, or one that has not ended, or its files do not belong together.
    ModelError
        The model cannot be built again as it was.
    """
    results = read(path / RESULTS)
    settings = settings_of(path, moved or {})
    about = _about(path)
    weights = load_weights(path / MODEL)
    if (found := sha256_of(weights)) != results.weights_sha256:
        raise RunDirectoryError(
            f"{path / MODEL}: its weights have the SHA-256 {found}, and {RESULTS} says "
            f"{results.weights_sha256}: the files are of two runs, or were changed"
        )
    told = decode(Told, about.get("domain"), "model.json: domain")
    settings, source = _start(settings, told, about.get("starts_from"))
    architecture = make("model.architecture", settings.model.architecture)
    domain = read_domain(source, architecture, settings.model.train, CPU)
    shared, sha256 = build_model(settings, domain, cache_of(settings))
    if sha256 != about.get("belongs_to"):
        raise ModelError(
            f"{path}: the part of the model that did not train is another one here than in the run "
            f"({sha256[:12]}… for {str(about.get('belongs_to'))[:12]}…): another pretrained model, "
            "public pool or version of torch; use what the run used"
        )
    load_trainable(shared.module, weights)
    reading = domain.reading if isinstance(domain, ReadDomain) else None
    return RunModel(path, settings, results, told, shared.module.eval(), reading)


def settings_of(path: Path, moved: Mapping[str, str]) -> Settings:
    """Read with which settings a run was made, with files and folders where they are by now.

    Raises
    ------
    RunDirectoryError
        There are none, or they cannot be read.
    ConfigurationError
        A key of `moved` is not one of them.
    """
    config = read_config(path)
    for key, place in moved.items():
        _put(config, key, place)
        if key == "model.name":
            _put(config, "model.architecture.pretrained", place)
    config["run"] = {"dir": str(path)}
    return read_settings(config)


def _put(config: dict[str, Any], key: str, place: str) -> None:
    *path, last = key.split(".")
    node: Any = config
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        raise ConfigurationError(
            f"{key}={place}: the run's {CONFIG} has no such key: name one that holds a path, such "
            "as domain.root, domain.schema, model.name or model.weights"
        )
    node[last] = place


def _about(path: Path) -> Mapping[str, Any]:
    file = (path / MODEL).with_suffix(".json")
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{file}: cannot be read: {error}") from error
    if not isinstance(about, dict) or "domain" not in about:
        raise RunDirectoryError(
            f"{file}: does not describe the domain: the run was made by an earlier version of Tacit"
        )
    return about


def _start(settings: Settings, told: Told, file: str | None) -> tuple[Settings, Domain]:
    """Let the model start from the file that it did; where that is gone, from the public pool."""
    if settings.model.weights is not None or file is None:
        return settings, told
    kept = cache_of(settings) / "models" / Path(file).name
    if kept.is_file():
        return replace(settings, model=replace(settings.model, weights=str(kept))), told
    try:
        return settings, make("domain", settings.domain)
    except InputError as error:
        raise ModelError(
            f"{kept}: the pretrained weights that the run started from are gone, and its domain, "
            f"whose public pool they were made of, cannot be had: {error}"
        ) from error
