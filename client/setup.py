"""From what a site's officer wrote to a site that is ready: data checked and model built."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import torch

from client.allowed import Allowed
from client.secure import SecureSums
from client.site import Site, seeded_streams, system_streams
from client.site_file import SiteFile
from tacit.domains.domain import Card, Domain, SiteData, site_data
from tacit.domains.persons import check_named
from tacit.errors import ConfigurationError
from tacit.experiment import Prepared, domain_of, prepare_model
from tacit.plans import LEAST_SITES, ON_FROM
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Policy
from tacit.privacy_settings import (
    ClientPrivacy,
    NoPrivacy,
    RecordPrivacy,
    SharedNoisePrivacy,
    persons_of,
)
from tacit.settings import Settings

NOT_AT_A_SITE: Final = {
    "run": "the coordinator keeps the run",
    "compare": "baselines are measured in simulations",
    "baselines": "baselines are measured in simulations",
    "engine.device": "say it as device",
    "privacy.noise_seed": "say it as noise_seed",
}
"""Keys of an experiment that mean nothing at a site, and why."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a site has before anybody asks: its data, read and checked, and the model.

    Parameters
    ----------
    card
        The domain.
    data
        The site's own rows.
    declared_size
        The public number of its training rows.
    prepared
        The model on its device.
    """

    card: Card
    data: SiteData
    declared_size: int
    prepared: Prepared


def take_stock(
    file: SiteFile,
    settings: Settings,
    on_pretraining: Callable[[int, float], None] = lambda step, loss: None,
) -> Holdings:
    """Read and check the site's data and build its model; nothing is spent.

    Parameters
    ----------
    file
        The site's own word.
    settings
        What the words of its `experiment` come to.
    on_pretraining
        Called after each step of pretraining, where there is any to do, with its loss.

    Raises
    ------
    InputError
        Data, model, device or weights cannot be used.
    """
    domain = domain_of(settings)
    data = own_data(domain, file, settings)
    prepared = own_model(file, settings, domain, on_pretraining)
    return Holdings(domain.card, data, domain.declared_sizes[file.name], prepared)


def own_data(domain: Domain, file: SiteFile, settings: Settings) -> SiteData:
    """Read and check the site's data; where a person is the unit, rows must say whose they are.

    Raises
    ------
    InputError
        They cannot be used.
    """
    data = site_data(domain, file.name)
    if persons_of(settings.privacy) is not None:
        check_named({file.name: data})
    return data


def own_model(
    file: SiteFile,
    settings: Settings,
    domain: Domain,
    on_pretraining: Callable[[int, float], None] = lambda step, loss: None,
) -> Prepared:
    """Build the site's model, within its share of the device; no row of the site is read.

    Raises
    ------
    InputError
        Model, device or weights cannot be used.
    """
    site_privacy(settings)
    prepared = prepare_model(settings, domain, on_pretraining)
    device = prepared.compute.device
    if device.type == "cuda":
        # torch wants a number here, where elsewhere plain cuda is the current one.
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.set_per_process_memory_fraction(file.gpu_memory_share, index)
    elif file.gpu_memory_share != 1.0:
        raise ConfigurationError(
            f"gpu_memory_share={file.gpu_memory_share:g}: device={file.device} is no GPU here: "
            "leave it out"
        )
    return prepared


def site_privacy(settings: Settings) -> RecordPrivacy | SharedNoisePrivacy | ClientPrivacy:
    """Return the privacy that the site's experiment has.

    Raises
    ------
    ConfigurationError
        It has none.
    """
    if isinstance(settings.privacy, NoPrivacy):
        raise ConfigurationError(
            "experiment: privacy=none: a site releases nothing exact: use privacy=record"
        )
    return settings.privacy


def make_site(
    file: SiteFile,
    holdings: Holdings,
    ledger: Ledger,
    sums: SecureSums | None = None,
    sites: Collection[str] = (),
) -> Site:
    """Return the site that answers the coordinator; `sites` as `others_demanded` has them."""
    seed = file.noise_seed
    return Site(
        name=file.name,
        data=holdings.data.train,
        model=holdings.prepared.shared.module,
        allowed=allowed_by(file, holdings.prepared, sites),
        ledger=ledger,
        policy=policy_of(file),
        streams=system_streams() if seed is None else seeded_streams(seed, file.name),
        predictable=seed is not None,
        compute=holdings.prepared.compute,
        sums=sums,
    )


def others_demanded(file: SiteFile, sites: Collection[str]) -> int:
    """Return among how many others a sum must hide this site's part; 0 where none is demanded.

    Parameters
    ----------
    sites
        Those of the domain that the site's roster has.
    """
    match file.secure_aggregation:
        case "off":
            return 0
        case "auto":
            return LEAST_SITES - 1 if len(sites) >= ON_FROM else 0
        case others:
            return others


def allowed_by(file: SiteFile, prepared: Prepared, sites: Collection[str]) -> Allowed:
    """Return what runs of the site may be about; `sites` as `others_demanded` has them."""
    limits, privacy = file.limits, prepared.settings.privacy
    return Allowed(
        domain=prepared.card.name,
        model=prepared.model_sha256,
        models=None if limits.models == "any" else frozenset(limits.models),
        strategies=None if limits.strategies == "any" else frozenset(limits.strategies),
        others=others_demanded(file, sites),
        colluders=limits.colluders,
        trusts_coordinator=isinstance(privacy, ClientPrivacy) and not privacy.in_shares,
    )


def policy_of(file: SiteFile) -> Policy:
    """Return what the site is ready to spend."""
    limits = file.limits
    return Policy(
        epsilon_per_run=limits.epsilon_per_run,
        lifetime_epsilon=limits.lifetime_epsilon,
        delta_per_run=limits.delta_per_run,
        least_noise_multiplier=limits.least_noise_multiplier,
        most_rounds=limits.most_rounds,
        require_privacy=not file.test_data,
        test_data=file.test_data,
        epsilon_alone=limits.epsilon_alone_per_run or 0.0,
    )


def words_of(file: SiteFile) -> list[str]:
    """Return the words from which the site's settings are composed.

    Raises
    ------
    ConfigurationError
        A word means nothing at a site; says why.
    """
    for word in file.experiment:
        key = word.partition("=")[0].lstrip("+~")
        for name, why in NOT_AT_A_SITE.items():
            if f"{key}.".startswith(f"{name}."):
                raise ConfigurationError(f"{word}: has no meaning at a site: {why}")
    return [*file.experiment, f"engine.device={file.device}", "compare=false"]
