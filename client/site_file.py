"""A site's own word: ``site.yaml``, in which its officer says what it holds and what it allows.

Nothing that a coordinator sends widens what stands here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, with_config

from tacit import plain_yaml
from tacit.configuration import read_as
from tacit.errors import ConfigurationError
from tacit.nearest import nearest
from tacit.privacy_settings import Positive, Seed
from tacit.settings import Count
from tacit.trust.hosts import Hosts
from tacit.trust.names import check_name

_STRICT: Final = ConfigDict(extra="forbid")
_SHA256: Final = re.compile("[0-9a-f]{64}")


def _words(value: object) -> object:
    if not (isinstance(value, list) and value):
        raise ValueError(f"{value!r} must be a list with a word at least, as [domain=hospitals]")
    return value


def _any_or_list(value: object) -> object:
    listed = isinstance(value, list) and all(isinstance(each, str) for each in value)
    if value != "any" and not listed:
        raise ValueError(f"{value!r} must be any, or a list of words")
    return value


def _folder(value: object) -> object:
    if not (isinstance(value, str) and value and value.isprintable()):
        raise ValueError(f"{value!r} is not the path of a folder")
    if value.startswith("~"):
        raise ValueError(f"{value} must be written without ~: in full, or from this file's folder")
    return value


Share = Annotated[float, Field(gt=0, lt=1, strict=True)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Names = Annotated[Literal["any"] | tuple[str, ...], BeforeValidator(_any_or_list)]
Folder = Annotated[Path, BeforeValidator(_folder)]


@with_config(_STRICT)
@dataclass(frozen=True)
class SiteLimits:
    """The most that a site spends, and what it takes part in.

    Parameters
    ----------
    epsilon_per_run, delta_per_run
        The most that one run may cost: ε, and the δ at which it is counted.
    lifetime_epsilon, lifetime_delta
        The most that everything ever released from the data set may cost.
    least_noise_multiplier
        Smallest noise, as a multiple of the clipping norm.
    epsilon_alone_per_run
        The most that one run with noise in shares may cost should every other site give its share
        away; None to take part in none.
    colluders
        Sites whose share of such noise is not counted on.
    most_rounds
        Most rounds of a run; None for any number.
    models
        Models by the SHA-256 that ``tacit-client check=true`` shows, or 'any' that the site builds
        from `experiment`.
    strategies
        Strategies by name, or 'any'.
    """

    epsilon_per_run: Positive
    delta_per_run: Share
    lifetime_epsilon: Positive
    lifetime_delta: Share
    least_noise_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)] = 0.0
    most_rounds: Count | None = None
    epsilon_alone_per_run: Positive | None = None
    colluders: Annotated[int, Field(ge=0, strict=True)] = 1
    models: Names = "any"
    strategies: Names = "any"


@with_config(_STRICT)
@dataclass(frozen=True)
class SiteFile:
    """What ``site.yaml`` says; its paths count from the folder that holds it.

    Parameters
    ----------
    name
        The site's name in the coordinator's roster and in the domain.
    server
        Where the coordinator is: https://NAME:PORT.
    experiment
        Words as for tacit-simulate: the domain with its data and the model. The site builds these
        and no others, whatever it is asked.
    data_set
        Name of the data in the ledger, for good.
    limits
        See `SiteLimits`.
    bundle
        Folder with the site's keys, the authority's certificate and the roster.
    ledger
        Folder of the ledger. It must outlive every reinstallation.
    test_data
        Whether nobody's privacy depends on these data: only then may noise be seeded or left out.
    noise_seed
        Seed of noise and sampling, for test data; None for noise that nobody can recompute.
    secure_aggregation
        Among how many others the site's update must be hidden; 'off'; or 'auto': two, where the
        roster has four of the domain's sites or more.
    device
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    gpu_memory_share
        How much of a GPU's memory this site may take: several sites can share one.
    heartbeat
        Seconds between two signs of life, at most what the coordinator expects (server.heartbeat).
    log
        'text' for people, 'json' for one JSON object a line.
    """

    name: str
    server: str
    experiment: Words
    data_set: str
    limits: SiteLimits
    bundle: Folder = Path()
    ledger: Folder = Path("ledger")
    test_data: Annotated[bool, Field(strict=True)] = False
    noise_seed: Seed | None = None
    secure_aggregation: Literal["off", "auto"] | Count = "auto"
    device: str = "auto"
    gpu_memory_share: Positive = 1.0
    heartbeat: Positive = 30.0
    log: Literal["text", "json"] = "text"

    @property
    def address(self) -> str:
        """The coordinator's host and port."""
        return urlsplit(self.server).netloc


def read_site_file(path: Path) -> SiteFile:
    """Read and check a ``site.yaml``.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or a key is unknown, missing or out of range; names file and key.
    """
    found = plain_yaml.read_file(path)
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path}: must hold keys and values, as in name: county")
    try:
        _check_keys(found)
        file = read_as(SiteFile, found)
        _check(file)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    folder = path.parent
    return replace(file, bundle=folder / file.bundle, ledger=folder / file.ledger)


def _check_keys(found: Mapping[str, Any]) -> None:
    """Refuse a key that is not there, and say which was meant."""
    limits = found.get("limits")
    given = [*found, *(f"limits.{key}" for key in (limits if isinstance(limits, dict) else ()))]
    own = [field.name for field in fields(SiteFile)]
    known = [*own, *(f"limits.{field.name}" for field in fields(SiteLimits))]
    for key in given:
        if key not in known:
            raise ConfigurationError(f"{key}: there is no such key; {nearest(key, known)}")


def _check(file: SiteFile) -> None:
    """Refuse what is out of range, and what no single key shows."""
    try:
        check_name(file.name)
    except ConfigurationError as error:
        raise ConfigurationError(f"name: {error}") from error
    if not file.data_set.strip():
        raise ConfigurationError("data_set: must not be empty")
    if not _is_address(file.server):
        raise ConfigurationError(
            f"server={file.server}: must be https://NAME:PORT, as https://coordinator.example:9443"
        )
    if not re.fullmatch("auto|cpu|cuda(:[0-9]+)?", file.device):
        raise ConfigurationError(f"device={file.device}: must be auto, cpu, cuda or cuda:N")
    if file.gpu_memory_share > 1:
        raise ConfigurationError(f"gpu_memory_share={file.gpu_memory_share:g}: must be at most 1")
    if file.noise_seed is not None and not file.test_data:
        raise ConfigurationError(
            f"noise_seed={file.noise_seed}: whoever knows a seed can take the noise off again: it "
            "needs test_data: true, or leave it null"
        )
    limits = file.limits
    for model in () if limits.models == "any" else limits.models:
        if not _SHA256.fullmatch(model):
            raise ConfigurationError(
                f"limits.models: {model!r} is no SHA-256: tacit-client check=true shows the 64 "
                "digits of this site's own model"
            )
    if limits.lifetime_epsilon < limits.epsilon_per_run:
        raise ConfigurationError(
            f"limits.lifetime_epsilon={limits.lifetime_epsilon:g} is less than "
            f"limits.epsilon_per_run={limits.epsilon_per_run:g}: no run could spend what it may"
        )


def _is_address(text: str) -> bool:
    try:
        at = urlsplit(text)
        host, port = at.hostname, at.port
    except ValueError:
        return False
    # Whatever else an address may hold, such as a user or a path, stands in neither.
    shown = f"[{host}]" if host and ":" in host else host
    if not (host and port and text.lower().rstrip("/") == f"https://{shown}:{port}"):
        return False
    try:
        ip_address(host)
    except ValueError:
        try:
            Hosts.parse([host], [])
        except ConfigurationError:
            return False
    return True
