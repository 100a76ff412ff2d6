"""What the coordinator, every site and a simulation make of one experiment's settings: no data."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from tacit.components import make
from tacit.devices import compute_of
from tacit.domains.domain import Card, Domain
from tacit.domains.persons import declared_persons
from tacit.errors import ConfigurationError
from tacit.learning.local import Compute
from tacit.models.adapters import add_adapters
from tacit.models.architecture import Architecture
from tacit.models.compatibility import check_private, check_scores
from tacit.models.imbalance import balance, start_from_prior
from tacit.models.reading import OnRead, ReadDomain, is_reader, read_domain
from tacit.models.shared import SharedModel, seeded, shared_model
from tacit.models.trainable import choose_trainable, trainable_weights
from tacit.models.weights import state_arrays
from tacit.privacy_settings import AnyPrivacy, RecordPrivacy, SharedNoisePrivacy, persons_of
from tacit.settings import ModelSettings, Settings


@dataclass(frozen=True, slots=True)
class Prepared:
    """An experiment as everybody has it: the model on its device, and what is public.

    Parameters
    ----------
    settings, card, declared_sizes
        The experiment, its domain, and the public size of each site in the order of names.
    declared_units
        How many there are at each of those whose presence is hidden: its rows, or its persons.
    shared
        The model before the first round, its trainable weights chosen.
    model_sha256
        Hash of all of the model that does not travel: who has another one cannot take part.
    compute
        Device, precision and microbatches.
    cache
        Folder for what can be computed again.
    """

    settings: Settings
    card: Card
    declared_sizes: Mapping[str, int]
    declared_units: Mapping[str, int]
    shared: SharedModel
    model_sha256: str
    compute: Compute
    cache: Path

    @property
    def trained(self) -> int:
        """How many weights are trained."""
        return sum(p.numel() for p in self.shared.module.parameters() if p.requires_grad)


def domain_of(settings: Settings, on_read: OnRead = lambda done, total: None) -> Domain:
    """Make the experiment's domain, as its model sees it; no row is read.

    Parameters
    ----------
    settings
        The experiment.
    on_read
        Called with how many examples a model has read of how many, while they are loaded.

    Raises
    ------
    InputError
        Domain, device or pretrained model cannot be used, or they do not fit.
    """
    torch.set_num_threads(settings.engine.threads)
    domain: Domain = make("domain", settings.domain)
    architecture: Architecture = make("model.architecture", settings.model.architecture)
    device = torch.device("cpu")
    if is_reader(architecture):  # else a device that is not there is the model's to say
        device = compute_of(settings.engine).device
    return read_domain(domain, architecture, settings.model.train, device, on_read)


def prepare_model(
    settings: Settings,
    domain: Domain,
    on_pretraining: Callable[[int, float], None] = lambda step, loss: None,
) -> Prepared:
    """Build the experiment's model on its device.

    Parameters
    ----------
    settings
        The experiment.
    domain
        Its domain, of `domain_of`; no row of a site is read.
    on_pretraining
        Called after each step of pretraining, where there is any to do, with its loss.

    Raises
    ------
    InputError
        Device, model or weights cannot be used.
    """
    torch.set_num_threads(settings.engine.threads)
    cache = _usable(cache_of(settings))
    compute = compute_of(settings.engine)
    inputs = tuple(domain.inputs)
    shared, sha256 = build_model(settings, domain, cache, on_pretraining)
    shared.module.to(compute.device)
    check_scores(shared.module, inputs, domain.card.outputs)
    if isinstance(settings.privacy, RecordPrivacy | SharedNoisePrivacy):
        check_private(shared.module, inputs)
    return Prepared(
        settings,
        domain.card,
        dict(sorted(domain.declared_sizes.items())),
        declared_units(domain, settings.privacy),
        shared,
        sha256,
        compute,
        cache,
    )


def build_model(
    settings: Settings,
    domain: Domain,
    cache: Path,
    on_pretraining: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[SharedModel, str]:
    """Build the experiment's model on the CPU, whatever it is then used for.

    Parameters
    ----------
    settings
        The experiment.
    domain
        Its domain as the model sees it; no row of a site is read.
    cache
        Folder of pretrained models.
    on_pretraining
        As of `prepare_model`.

    Returns
    -------
    shared : SharedModel
        The model before the first round, its trainable weights chosen.
    sha256 : str
        Hash of all of it that does not travel.

    Raises
    ------
    InputError
        Model or weights cannot be used.
    """
    reading = domain.reading if isinstance(domain, ReadDomain) else None
    shared = shared_model(
        settings.model,
        reading.architecture
        if reading
        else make("model.architecture", settings.model.architecture),
        domain,
        tuple(domain.inputs),
        settings.seed,
        cache,
        on_pretraining,
    )
    if isinstance(domain, ReadDomain):
        before = tuple(domain.domain.inputs)
        shared = replace(shared, pretraining=domain.reading.description, inputs=before)
    if settings.model.balanced:
        balance(shared.module, domain.card)
    else:
        start_from_prior(shared.module, domain.card)
    if settings.model.train.adapts:
        with seeded(settings.seed):
            add_adapters(shared.module, settings.model.lora)
    choose_trainable(shared.module, settings.model.train, settings.model.train_pattern)
    return shared, _frozen_sha256(settings.model, shared, reading.sha256 if reading else None)


def declared_units(domain: Domain, privacy: AnyPrivacy) -> dict[str, int]:
    """Return the public number of each site's rows or, where a person is the unit, its persons.

    Rates, divisors and weights of aggregation rest on it; sites are in the order of names.

    Raises
    ------
    ConfigurationError
        A person is the unit, and the domain does not declare how many there are.
    """
    if persons_of(privacy) is not None:
        return declared_persons(domain)
    return dict(sorted(domain.declared_sizes.items()))


def cache_of(settings: Settings) -> Path:
    """Return the experiment's folder for what can be computed again."""
    return Path(settings.cache) if settings.cache else default_cache()


def default_cache() -> Path:
    """Folder for what can be computed again: the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tacit"


def _usable(cache: Path) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError as error:
        raise ConfigurationError(
            f"cache={cache}: cannot be made or written ({error.strerror}): set cache=PATH"
        ) from error


def _frozen_sha256(model: ModelSettings, shared: SharedModel, read_by: str | None) -> str:
    """Hash all of the model that does not travel; of files their content, not where they are."""
    travels = trainable_weights(shared.module)
    chosen: dict[str, object] = asdict(model.architecture)
    if read_by is not None:
        where = ("pretrained", "sha256", "revision")
        told_of = {k: v for k, v in model.architecture.options.items() if k not in where}
        chosen["options"] = {**told_of, "pretrained": read_by}
    told = [chosen, model.train.value]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, array in sorted(state_arrays(shared.module).items()):
        if name not in travels:
            digest.update(f"{name}:{array.shape};".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
