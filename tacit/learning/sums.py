"""How what each site computes enters a sum of all: grid, public weights, shares of noise."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tacit.errors import ConfigurationError
from tacit.learning.clipping import count_weight
from tacit.learning.plan import LocalOptimizer, Part, RoundPlan, Share
from tacit.privacy.events import Relation, Unit
from tacit.privacy.grid import Grid, finest_grid
from tacit.privacy.shares import MOST_ROUNDING_COST, SharedNoise, Terms, shared_noise
from tacit.privacy_settings import ClientPrivacy, SharedNoisePrivacy
from tacit.settings import Training

REACH: Final = 128.0
"""Most by which a weight may change in a round on 32 bits; what goes beyond is cut off."""
_TAIL: Final = 8.0
"""Standard deviations that a grid of 16 bits has room for: beyond is 1 in 10^15."""


def in_gradients(
    plans: Mapping[str, RoundPlan],
    sizes: Mapping[str, int],
    privacy: SharedNoisePrivacy,
    training: Training,
    fewest: int,
    dimension: int,
) -> dict[str, RoundPlan]:
    """Give every site its part, and its share of the noise, in sums of one gradient step each.

    Parameters
    ----------
    plans
        Steps without privacy.
    sizes
        Declared size of each site, in rows or persons: its weight, and how many of them one of its
        sums is made for.
    fewest
        Replies with which a round counts.
    dimension
        How many weights are trained.

    Raises
    ------
    ConfigurationError
        One gradient step is not one sum, or no noise can be shared so.
    """
    for wrong, key in (
        (training.local_steps != 1, f"training.local_steps={training.local_steps}"),
        (training.optimizer is not LocalOptimizer.SGD, f"training.optimizer={training.optimizer}"),
        (training.cohort != "all", f"training.cohort={training.cohort}"),
    ):
        if wrong:
            raise ConfigurationError(
                f"{key}: with privacy=shared_noise a round is one gradient step of all sites, of "
                "which only the sum is seen: use training.local_steps=1 training.optimizer=sgd "
                "training.cohort=all; momentum and Adam are strategies then (fedavgm, fedadam)"
            )
    whole = sum(sizes[site] for site in plans)
    weights = {site: sizes[site] / whole for site in plans}
    noise = shared_noise(
        {
            site: Terms(
                weights[site] * privacy.clipping_norm / plan.divisor,
                sizes[site],
                plan.sampling_rate,
            )
            for site, plan in plans.items()
        },
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        steps=training.rounds,
        dimension=dimension,
        fewest=fewest,
        colluders=privacy.colluders,
        bits=privacy.bits,
        unit=privacy.unit,
    )
    return {
        site: replace(
            plan,
            clipping_norm=privacy.clipping_norm,
            part=_part(noise.grid, weights[site]),
            share=_share(noise),
        )
        for site, plan in plans.items()
    }


def in_updates(
    plans: Mapping[str, RoundPlan], sizes: Mapping[str, int], cohort: int, dimension: int, bits: int
) -> dict[str, RoundPlan]:
    """Give every site its part in sums of what a round adds, private already or not at all.

    Parameters
    ----------
    plans
        As they are without a sum.
    sizes
        Declared size of each site: its weight, relative to the largest.
    cohort
        How many sites a round asks.
    dimension
        How many weights are trained.
    bits
        32, or 16 where rounding costs little.

    Raises
    ------
    ConfigurationError
        Rounding to so few bits would cost too much, or what it costs is not known.
    """
    largest = max(sizes[site] for site in plans)
    weights = {site: sizes[site] / largest for site in plans}
    reach = REACH
    if bits == 16:
        reach = max(weights[site] * _reach(plan) for site, plan in plans.items())
    grid = finest_grid(bits, dimension, cohort, reach)
    if bits == 16:
        _check_rounding(plans, weights, grid)
    return {site: replace(plan, part=_part(grid, weights[site])) for site, plan in plans.items()}


def in_clients(
    plans: Mapping[str, RoundPlan],
    privacy: ClientPrivacy,
    *,
    sigma: float,
    cohort: int,
    steps: int,
    rounds: int,
    fewest: int,
    dimension: int,
) -> dict[str, RoundPlan]:
    """Give every client its part in sums of whole clipped updates, in units of C.

    Parameters
    ----------
    plans
        As they are without a sum.
    sigma
        Noise multiplier of the budget.
    cohort
        How many clients a round asks.
    steps, rounds
        In how many rounds a client is at most, and how many there are.
    fewest
        Replies with which a round counts.
    dimension
        How many weights are trained.

    Raises
    ------
    ConfigurationError
        No noise can be shared so, or rounding to so few bits would cost too much.
    """
    counted = 0.0
    if privacy.clipping_quantile is not None:
        counted = count_weight(sigma, cohort)
        dimension += 1
    plans = {site: replace(plan, count_weight=counted) for site, plan in plans.items()}
    norm = next(iter(plans.values())).unit_norm
    if not privacy.in_shares:
        grid = finest_grid(privacy.bits, dimension, cohort, norm)
        cost = _noise_raised(grid, norm, sigma)
        if cost > MOST_ROUNDING_COST:
            raise _too_coarse(privacy.bits, cost)
        part = _part(grid, 1.0)
        return {site: replace(plan, part=part) for site, plan in plans.items()}
    noise = shared_noise(
        # Clients are alike: so many stand for all.
        {str(number): Terms(norm, 1) for number in range(cohort)},
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        steps=steps,
        sums=rounds,
        dimension=dimension,
        fewest=fewest,
        colluders=privacy.colluders,
        bits=privacy.bits,
        unit=Unit.CLIENT,
        relation=Relation.REPLACE_WITH_ZERO,
    )
    part, share = _part(noise.grid, 1.0), _share(noise)
    return {
        site: replace(plan, noise_multiplier=None, part=part, share=share)
        for site, plan in plans.items()
    }


def _noise_raised(grid: Grid, norm: float, sigma: float) -> float:
    """Bound by which part a grid raises the deviation of a sum that the coordinator noises.

    Without a grid it is σ × norm. On one, noise is set for the sensitivity after rounding, and
    rounding at random moves a coordinate of each vector with a variance of at most 1/4.
    """
    noised = grid.l2_sensitivity(norm) * grid.spacing / norm
    rounded = math.sqrt(grid.sites) / 2 * grid.spacing / (sigma * norm)
    return math.hypot(noised, rounded) - 1


def _reach(plan: RoundPlan) -> float:
    """Bound what a round of private SGD adds to a weight, but for a chance of 1 in 10^15 or so.

    A step moves a weight by η times the clipped sum over its batch, at most rows × C ÷ divisor, and
    noise. By Bernstein's inequality the rows of a Poisson sample of expectation b are at most
    b + 9√b + 27 but for a chance of e^-36 (or all of them, where all are taken).
    """
    if plan.clipping_norm is None or plan.noise_multiplier is None or plan.proximal_mu:
        raise ConfigurationError(
            "privacy.bits=16: how far a round moves the weights is only known for SGD with "
            "privacy=record and no proximal term: take 32 bits"
        )
    if plan.optimizer is not LocalOptimizer.SGD:
        raise ConfigurationError(
            f"privacy.bits=16 with training.optimizer={plan.optimizer.value}: how far a round "
            "moves the weights is only known for sgd: take 32 bits"
        )
    batch = plan.divisor
    rows = batch if plan.sampling_rate == 1 else batch + 9 * math.sqrt(batch) + 27
    moved = plan.steps * rows * plan.clipping_norm / plan.divisor
    return plan.learning_rate * (moved + _TAIL * _deviation(plan))


def _deviation(plan: RoundPlan) -> float:
    """Return the standard deviation that a round's noise has on a weight, divided by η."""
    sigma, clip = plan.noise_multiplier or 0.0, plan.clipping_norm or 0.0
    return math.sqrt(plan.steps) * sigma * clip / plan.divisor


def _check_rounding(
    plans: Mapping[str, RoundPlan], weights: Mapping[str, float], grid: Grid
) -> None:
    """Refuse a grid whose rounding raises the deviation of a site's own noise by too much.

    Rounding at random adds a variance of at most a quarter of a squared step.
    """
    for site, plan in plans.items():
        noise = weights[site] * plan.learning_rate * _deviation(plan)
        cost = math.sqrt(1 + (grid.spacing / noise) ** 2 / 4) - 1
        if cost > MOST_ROUNDING_COST:
            raise _too_coarse(grid.bits, cost)


def _too_coarse(bits: int, cost: float) -> ConfigurationError:
    way_out = "take privacy.bits=32" if bits == 16 else "take fewer sites or weights"
    return ConfigurationError(
        f"privacy.bits={bits}: rounding would cost {100 * cost:.3g} % more noise, over "
        f"{100 * MOST_ROUNDING_COST:g} %: {way_out}"
    )


def _part(grid: Grid, weight: float) -> Part:
    return Part(grid.bits, grid.spacing, grid.dimension, grid.sites, grid.largest, weight)


def _share(noise: SharedNoise) -> Share:
    return Share(noise.variance, noise.honest)
