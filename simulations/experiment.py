"""An experiment made ready: data checked, model built, every site's plan fixed; nothing spent."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from server.planning import check_sizes, plan_run
from server.run_plan import RunPlan
from simulations.evaluation import Measured, measure, predict
from simulations.kept import Features, loaded
from strategies.build import build_strategy, by_itself
from strategies.limits import check_run
from tacit.domains.domain import Examples, SiteData
from tacit.domains.partitioned import PartitionedSites
from tacit.domains.persons import check_named
from tacit.experiment import Prepared, declared_units, prepare_model
from tacit.learning.canaries import Canaries
from tacit.models.reading import OnRead
from tacit.models.trainable import Weights, load_trainable
from tacit.plans import cohort_size, sums_securely
from tacit.privacy_settings import AnyPrivacy, NoiseSource, NoPrivacy, persons_of
from tacit.settings import Component, Settings, Training

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Experiment(Prepared):
    """What every training of a run shares: the run itself and the baselines beside it.

    A simulation holds every site's data, and in `features` what the frozen part of the model makes
    of the training rows of a site that has charged for them: that may be kept for the run and, in
    a sweep, for the next one. `out_of_scope` are examples of no class, where the domain has any.
    """

    data: Mapping[str, SiteData]
    features: Features = field(default_factory=dict)
    out_of_scope: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """One training: the run itself, or a baseline beside it.

    Parameters
    ----------
    key
        Name; also part of what seeds its noise, so that no two arms share any.
    rows
        Training rows of each site that takes part.
    declared_sizes
        Public size of each, in rows or, where its privacy is of persons, in persons.
    training, privacy
        How.
    canaries
        Records of an audit that takes part.
    """

    key: str
    rows: Mapping[str, Examples]
    declared_sizes: Mapping[str, int]
    training: Training
    privacy: AnyPrivacy
    canaries: Canaries | None = None


def prepare(
    settings: Settings,
    on_pretraining: Callable[[int, float], None] = lambda step, loss: None,
    on_read: OnRead = lambda done, total: None,
) -> Experiment:
    """Read and check everything a run needs.

    Parameters
    ----------
    settings
        The experiment.
    on_pretraining
        Called after each step of pretraining, where there is any to do, with its loss.
    on_read
        Called with how many examples a model has read of how many, where it reads any.

    Raises
    ------
    InputError
        Configuration, data, model or weights cannot be used; nothing was spent.
    """
    held = loaded(settings, on_read)
    domain = held.domain
    sizes = declared_units(domain, settings.privacy)
    check_sizes(sizes, settings)
    data = held.data
    if persons_of(settings.privacy) is not None:
        check_named(data)
    # Every training makes its own; here it is only checked.
    asked = cohort_size(settings.training, len(sizes))
    secure = sums_securely(settings, len(sizes), deployed=False)
    check_run(build_strategy(settings.strategy), settings, asked, secure=secure)
    prepared = prepare_model(settings, domain, on_pretraining)
    return Experiment(
        prepared.settings,
        prepared.card,
        prepared.declared_sizes,
        prepared.declared_units,
        prepared.shared,
        prepared.model_sha256,
        prepared.compute,
        prepared.cache,
        data,
        held.features.setdefault((prepared.model_sha256, prepared.compute), {}),
        held.out_of_scope,
    )


def only(experiment: Experiment, sites: Collection[str]) -> Experiment:
    """Return the experiment with some of its sites."""

    def some(every: Mapping[str, T]) -> dict[str, T]:
        return {site: own for site, own in every.items() if site in sites}

    return replace(
        experiment,
        data=some(experiment.data),
        declared_sizes=some(experiment.declared_sizes),
        declared_units=some(experiment.declared_units),
    )


def main_arm(experiment: Experiment) -> Arm:
    """Return the run itself."""
    settings, data = experiment.settings, experiment.data
    return Arm(
        "",
        data.train
        if isinstance(data, PartitionedSites)
        else {site: held.train for site, held in data.items()},
        experiment.declared_units,
        settings.training,
        settings.privacy,
    )


def strategy_of(arm: Arm, experiment: Experiment) -> Component:
    """Return the strategy of a training: the run's, or what is left of it for one site alone."""
    chosen = experiment.settings.strategy
    return by_itself(chosen) if arm.key and len(arm.rows) == 1 else chosen


def plan_of(arm: Arm, experiment: Experiment, run: str) -> RunPlan:
    """Fix the whole run."""
    return plan_run(
        run,
        experiment.card.name,
        experiment.model_sha256,
        arm.declared_sizes,
        arm.training,
        arm.privacy,
        strategy_of(arm, experiment),
        experiment.cache,
        experiment.trained,
        secure=secures(arm, experiment),
    )


def secures(arm: Arm, experiment: Experiment) -> bool:
    """Tell whether a training's coordinator sees sums only: the run's, never a baseline's."""
    sites = len(experiment.declared_sizes)
    return not arm.key and sums_securely(experiment.settings, sites, deployed=False)


def measure_weights(experiment: Experiment, weights: Weights) -> Measured:
    """Measure trainable weights on every site's held-out rows: simulation only."""
    load_trainable(experiment.shared.module, weights)
    card = experiment.card
    predicted = predict(experiment.shared.module, experiment.data, card, experiment.compute.device)
    return measure(predicted, experiment.data, card)


def noise_seed(settings: Settings) -> int | None:
    """Seed of noise and sampling; None where the operating system gives both."""
    if not isinstance(settings.privacy, NoPrivacy):
        chosen = settings.privacy.noise_seed
        if chosen is NoiseSource.SYSTEM:
            return None
        return settings.seed if chosen is None else chosen
    return settings.seed
