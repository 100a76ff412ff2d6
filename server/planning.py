"""A whole run, fixed before its first round: rate, steps, divisor, μ, C and σ of every site."""

import math
from collections.abc import Mapping
from pathlib import Path

from server.central import CentralNoise
from server.run_plan import RunPlan
from strategies.build import build_strategy, proximal_mu
from tacit.errors import ConfigurationError
from tacit.learning.plan import RoundPlan
from tacit.messages import Limits, Terms
from tacit.plans import cohort_size, fewest_summed, rounds_of_a_site, site_plans, within
from tacit.privacy.events import Unit
from tacit.privacy.policy import Reason
from tacit.privacy_settings import (
    AnyPrivacy,
    ClientPrivacy,
    NoPrivacy,
    RecordPrivacy,
    SharedNoisePrivacy,
    protected,
)
from tacit.settings import Component, Settings, Training


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
    secure: bool = False,
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
        Declared size of each site, in rows or persons.
    training, privacy, strategy
        How.
    cache
        Folder for calibrated noise.
    dimension
        How many weights are trained.
    limits
        What each site has stated of its policy, where it has.
    secure
        Whether the coordinator is to see sums only.
    """
    plans = site_plans(
        sizes,
        training,
        privacy,
        mu=proximal_mu(build_strategy(strategy)),
        cache=cache,
        dimension=dimension,
        limits=limits,
        secure=secure,
    )
    asked, fewest = cohort_size(training, len(sizes)), fewest_summed(training, len(sizes), secure)
    central = None
    if isinstance(privacy, ClientPrivacy) and not privacy.in_shares:
        central = _central(plans, asked)
    terms = Terms(domain, model, strategy.name, fewest - 1 if secure else 0)
    return RunPlan(
        run=run,
        rounds=training.rounds,
        terms=terms,
        sites=plans,
        declared_sizes=sizes,
        epsilons={
            site: _epsilon(privacy, None if limits is None else limits.get(site)) for site in plans
        },
        delta=0.0 if isinstance(privacy, NoPrivacy) else privacy.delta,
        central=central,
        clipping_quantile=privacy.clipping_quantile if isinstance(privacy, ClientPrivacy) else None,
        min_replies=fewest,
        summed=plans if secure else None,
        cohort=None if training.cohort == "all" else training.cohort,
        most_rounds=None if training.cohort == "all" else rounds_of_a_site(training, len(sizes)),
    )


def check_sizes(sizes: Mapping[str, int], settings: Settings) -> None:
    """Refuse declared numbers that cannot be, a δ that is no privacy, and too many replies asked.

    `sizes` are of the sites' rows or, where a person is the unit, of their persons.

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
    unit, _ = protected(privacy)
    names = ("declared_persons", "person") if unit is Unit.PERSON else ("declared_sizes", "row")
    for site, size in sizes.items():
        key = f"domain.{names[0]}.{site}"
        if not isinstance(size, int) or size < 1:
            raise ConfigurationError(f"{key}={size}: a site declares at least 1 {names[1]}")
        if isinstance(privacy, RecordPrivacy | SharedNoisePrivacy) and privacy.delta > 1 / size:
            raise ConfigurationError(
                f"privacy.delta={privacy.delta:g} is larger than one over {key} "
                f"({size}): it would allow one of its {unit}s to be published. Use at most "
                f"{1 / (10 * size):.0e}"
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
    # Noise that is made together protects all by the same ε.
    if not isinstance(privacy, NoPrivacy | RecordPrivacy) and privacy.epsilon > limits.epsilon:
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


def _epsilon(privacy: AnyPrivacy, limits: Limits | None) -> float:
    own = within(privacy, limits)
    return math.inf if isinstance(own, NoPrivacy) else own.epsilon
