"""What each site of a run computes in a round: rate, steps, divisor, μ, C, σ and part of a sum.

All of it follows from public numbers, so that a site can work out what it will be asked.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from tacit.errors import ConfigurationError
from tacit.learning.plan import RoundPlan
from tacit.learning.sums import in_clients, in_gradients, in_updates
from tacit.messages import Limits
from tacit.privacy.calibration import noise_multiplier
from tacit.privacy_settings import (
    AnyPrivacy,
    ClientPrivacy,
    NoPrivacy,
    RecordPrivacy,
    SharedNoisePrivacy,
    in_shares,
    persons_of,
    protected,
)
from tacit.secagg.assumptions import colluders_borne, quorum
from tacit.settings import EngineKind, SecureAggregation, Settings, Training

ON_FROM: Final = 4
"""From so many sites on a deployment sums securely by itself: with three, nobody may be missing."""
LEAST_SITES: Final = 3
"""A sum of two tells each what the other sent."""
THREE: Final = (
    "a secure sum of three sites bears nobody missing in a round, and counts on no site working "
    "with the coordinator: were one, only one other would hide what each sends"
)


def site_plans(
    sizes: Mapping[str, int],
    training: Training,
    privacy: AnyPrivacy,
    *,
    mu: float,
    cache: Path,
    dimension: int,
    limits: Mapping[str, Limits] | None = None,
    secure: bool = False,
) -> dict[str, RoundPlan]:
    """Return each site's plan, in the order of names.

    A site whose limits are narrower than what the run asks gets more noise: a smaller ε, or the
    least noise multiplier that it takes.

    Parameters
    ----------
    sizes
        Declared size of each site, in units whose presence is hidden: its rows, or its persons.
    training, privacy
        How.
    mu
        Of FedProx; 0 without.
    cache
        Folder for calibrated noise.
    dimension
        How many weights are trained.
    limits
        What each site has stated of its policy, where it has.
    secure
        Whether the coordinator is to see sums only.

    Raises
    ------
    ConfigurationError
        There is no such plan; names the key.
    """
    told = limits or {}
    # Sites of one declared size and like limits do the same: of very many, few differ.
    rounds = rounds_of_a_site(training, len(sizes))
    alike = lru_cache(maxsize=None)(partial(_round_plan, training, rounds, mu=mu, cache=cache))
    plans = {
        site: alike(within(privacy, told.get(site)), sizes[site], told.get(site))
        for site in sorted(sizes)
    }
    asked, fewest = cohort_size(training, len(sizes)), fewest_summed(training, len(sizes), secure)
    if secure and in_shares(privacy):
        _check_colluders(privacy.colluders, asked, fewest)
    if isinstance(privacy, SharedNoisePrivacy):
        return in_gradients(plans, sizes, privacy, training, fewest, dimension)
    if isinstance(privacy, ClientPrivacy) and (secure or privacy.sums):
        return in_clients(
            plans,
            privacy,
            # Of the budget alone: what a site demands beyond it must not change what others count.
            sigma=noise_multiplier(
                privacy.epsilon, privacy.delta, 1.0, rounds, cache=cache / "noise"
            ),
            cohort=asked,
            steps=rounds,
            rounds=training.rounds,
            fewest=fewest,
            dimension=dimension,
        )
    if secure:
        bits = privacy.bits if isinstance(privacy, RecordPrivacy) else 32
        return in_updates(plans, sizes, asked, dimension, bits)
    return plans


def sums_securely(settings: Settings, sites: int, *, deployed: bool) -> bool:
    """Tell whether the coordinator sees sums only.

    Parameters
    ----------
    sites
        How many there are.
    deployed
        Whether they are sites of their own, and not of one process.

    Raises
    ------
    ConfigurationError
        It should, and cannot; or it should not, and the privacy rests on it.
    """
    asked = cohort_size(settings.training, sites)
    chosen, privacy = settings.secure_aggregation, settings.privacy
    shares = in_shares(privacy)
    if deployed and shares and chosen is SecureAggregation.OFF:
        raise ConfigurationError(
            f"secure_aggregation=off: with privacy={privacy.kind} each site's noise is only its "
            "share, which protects where the sum alone is seen: leave it at auto"
        )
    secure = chosen is SecureAggregation.REQUIRED or (
        chosen is SecureAggregation.AUTO and deployed and (shares or asked >= ON_FROM)
    )
    if secure and asked < LEAST_SITES:
        raise ConfigurationError(
            f"secure_aggregation={chosen.value}: with {asked} sites in a round a sum shows each "
            f"what the other sent: {LEAST_SITES} or more are needed, or privacy=record with "
            "secure_aggregation=off"
        )
    if secure and settings.engine.kind is EngineKind.RAY and not deployed:
        raise ConfigurationError(
            "secure_aggregation=required: with engine=ray no process stays a site's for a whole "
            "round: use engine=stacked, loop or auto"
        )
    bits = 32 if isinstance(privacy, NoPrivacy) else privacy.bits
    if bits != 32 and not (secure or shares):
        raise ConfigurationError(
            f"privacy.bits={bits} is of the numbers in a sum, and here none is taken: use "
            "secure_aggregation=required"
        )
    return secure


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


def fewest_summed(training: Training, sites: int, secure: bool) -> int:
    """Return with how many replies a round counts; of a secure sum a quorum must be there."""
    fewest = fewest_replies(training, sites)
    return max(fewest, quorum(cohort_size(training, sites))) if secure else fewest


def within(privacy: AnyPrivacy, limits: Limits | None) -> AnyPrivacy:
    """Return a privacy within what a site has stated of its policy, where it can have its own."""
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
    if isinstance(privacy, NoPrivacy):
        return plain
    unit, _ = protected(privacy)
    plain = replace(plain, unit=unit, persons=persons_of(privacy))
    if isinstance(privacy, SharedNoisePrivacy):
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
    )


def _check_colluders(colluders: int, asked: int, fewest: int) -> None:
    """Refuse to count on noise that a secure sum does not keep from so many colluders."""
    borne = colluders_borne(asked, fewest)
    if colluders > borne:
        raise ConfigurationError(
            f"privacy.colluders={colluders}: a secure sum of {asked} sites of which "
            f"{asked - fewest} may be missing bears {borne}: with more, the coordinator could open "
            "the sum of a few. Take fewer, or training.min_replies=all"
        )
