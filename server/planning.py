"""A whole run, fixed before its first round: rate, steps, divisor, μ, C and σ of every site."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from server.central import CentralNoise
from server.rounds import RunPlan
from server.shared import in_shares
from strategies.build import build_strategy, proximal_mu
from tacit.errors import ConfigurationError
from tacit.learning.plan import RoundPlan
from tacit.messages import Limits, Terms
from tacit.privacy.calibration import noise_multiplier
from tacit.privacy.events import Unit
from tacit.privacy.policy import Reason
from tacit.settings import (
    AnyPrivacy,
    ClientPrivacy,
    Component,
    NoPrivacy,
    RecordPrivacy,
    Settings,
    SharedNoisePrivacy,
    Training,
)


def plan_run(
    run: str,
    domain: str,
    model: str,
    sizes: Mapping[str, int],
    training: Training,
    privacy: AnyPrivacy,
    strategy: Component,
    cache: Path,
    dimension: int,
    limits: Mapping[str, Limits] | None = None,
) -> RunPlan:
    """Fix a run.

    A site whose limits are narrower than what the run asks gets more noise: a smaller ε, or the
    least noise multiplier that it takes.

    Parameters
    ----------
    run
        The run's identity.
    domain, model
        Name of the domain, and SHA-256 of what does not travel of the model.
    sizes
        Declared size of each site.
    training, privacy, strategy
        How.
    cache
        Folder for calibrated noise.
    dimension
        How many weights are trained.
    limits
        What each site has stated of its policy, where it has.
    """
    told = limits or {}
    chosen = {site: _within(privacy, told.get(site)) for site in sorted(sizes)}
    mu = proximal_mu(build_strategy(strategy))
    # Sites of one declared size and like limits do the same: of very many, few differ.
    rounds = rounds_of_a_site(training, len(sizes))
    alike = lru_cache(maxsize=None)(partial(_round_plan, training, rounds, mu=mu, cache=cache))
    plans = {site: alike(own, sizes[site], told.get(site)) for site, own in chosen.items()}
    if isinstance(privacy, SharedNoisePrivacy):
        fewest = fewest_replies(training, len(sizes))
        plans = in_shares(plans, sizes, privacy, training, fewest, dimension)
    return RunPlan(
        run=run,
        rounds=training.rounds,
        terms=Terms(domain, model, strategy.name),
        sites=plans,
        declared_sizes=sizes,
        epsilons={
            site: math.inf if isinstance(own, NoPrivacy) else own.epsilon
            for site, own in chosen.items()
        },
        delta=0.0 if isinstance(privacy, NoPrivacy) else privacy.delta,
        central=_central(plans, cohort_size(training, len(sizes))),
        min_replies=fewest_replies(training, len(sizes)),
        cohort=None if training.cohort == "all" else training.cohort,
        most_rounds=None if training.cohort == "all" else rounds,
    )


def cohort_size(training: Training, sites: int) -> int:
    """Return how many sites a round asks."""
    return sites if training.cohort == "all" else training.cohort


def fewest_replies(training: Training, sites: int) -> int:
    """Return with how many replies a round counts."""
    return cohort_size(training, sites) if training.min_replies == "all" else training.min_replies


def rounds_of_a_site(training: Training, sites: int) -> int:
    """Return in how many rounds a site takes part at most.

    Of every `sites // cohort` rounds it takes part in one at most: `simulations.draw`.
    """
    return math.ceil(training.rounds / (sites // cohort_size(training, sites)))


def check_sizes(sizes: Mapping[str, int], settings: Settings) -> None:
    """Refuse declared sizes that cannot be, a δ that is no privacy, and too many replies asked.

    Raises
    ------
    ConfigurationError
        Names the key and the site.
    """
    if not sizes:
        raise ConfigurationError("domain.declared_sizes names no site")
    privacy = settings.privacy
    if isinstance(privacy, ClientPrivacy) and privacy.delta > 1 / len(sizes):
        raise ConfigurationError(
            f"privacy.delta={privacy.delta:g} is larger than one over the number of clients "
            f"({len(sizes)}): it would allow one of them to be published. Use at most "
            f"{1 / (10 * len(sizes)):.0e}"
        )
    for site, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ConfigurationError(
                f"domain.declared_sizes.{site}={size}: a site declares at least 1 row"
            )
        if isinstance(privacy, RecordPrivacy | SharedNoisePrivacy) and privacy.delta > 1 / size:
            raise ConfigurationError(
                f"privacy.delta={privacy.delta:g} is larger than one over the declared size of "
                f"{site} ({size}): it would allow one of its records to be published. Use at "
                f"most {1 / (10 * size):.0e}"
            )
    asked = cohort_size(settings.training, len(sizes))
    if asked > len(sizes):
        raise ConfigurationError(f"training.cohort={asked}: there are only {len(sizes)} sites")
    wanted = settings.training.min_replies
    if wanted != "all" and wanted > asked:
        raise ConfigurationError(f"training.min_replies={wanted}: a round asks only {asked} sites")


def unable(training: Training, privacy: AnyPrivacy, limits: Limits) -> Reason | None:
    """Say why no noise makes a run fit a site's limits; None where it fits."""
    if limits.most_rounds and training.rounds > limits.most_rounds:
        return Reason.TOO_MANY_ROUNDS
    # A smaller δ for one site would be another guarantee: a run has one.
    if not isinstance(privacy, NoPrivacy) and privacy.delta > limits.delta:
        return Reason.BUDGET
    return None


def _central(plans: Mapping[str, RoundPlan], clients: int) -> CentralNoise | None:
    """Return the noise that the coordinator adds, where whole updates are clipped."""
    strongest = max(
        (plan for plan in plans.values() if plan.clips_update),
        key=lambda plan: plan.noise_multiplier or 0.0,
        default=None,
    )
    if strongest is None or strongest.clipping_norm is None or strongest.noise_multiplier is None:
        return None
    return CentralNoise(strongest.clipping_norm, strongest.noise_multiplier, clients)


def _within(privacy: AnyPrivacy, limits: Limits | None) -> AnyPrivacy:
    if limits is None or not isinstance(privacy, RecordPrivacy):
        return privacy
    return replace(privacy, epsilon=min(privacy.epsilon, limits.epsilon))


def _round_plan(
    training: Training,
    rounds: int,
    privacy: AnyPrivacy,
    declared: int,
    limits: Limits | None,
    *,
    mu: float,
    cache: Path,
) -> RoundPlan:
    batch = declared if training.batch_size == "full" else min(training.batch_size, declared)
    rate = batch / declared
    plain = RoundPlan(
        training.local_steps,
        rate,
        float(batch),
        training.learning_rate,
        proximal_mu=mu,
        optimizer=training.optimizer,
    )
    if isinstance(privacy, NoPrivacy | SharedNoisePrivacy):
        return plain
    whole = isinstance(privacy, ClientPrivacy)
    sigma = noise_multiplier(
        privacy.epsilon,
        privacy.delta,
        # Who takes part in a round is seen, so that drawing clients amplifies nothing.
        1.0 if whole else rate,
        rounds if whole else rounds * training.local_steps,
        cache=cache / "noise",
    )
    return replace(
        plain,
        clipping_norm=privacy.clipping_norm,
        noise_multiplier=max(sigma, limits.least_noise_multiplier if limits else 0.0),
        unit=Unit.CLIENT if isinstance(privacy, ClientPrivacy) else privacy.unit,
    )
