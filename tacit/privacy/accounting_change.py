"""What a changed unit costs: data sets in which one unit is another, and not there or not there.

Where a person is the unit, this is what a changed row of somebody comes to. Both data sets have the
person, with the same coins; the two clipped vectors can lie 2C apart. In the worst case they point
in opposite directions: without sampling that is one Gaussian with half the noise multiplier, with
sampling the pair (1 - q) N(0) + q N(±C), which `dp_accounting` has for replacing one (Koskela,
Jälkö and Honkela 2020, arXiv 1906.03049, section 5).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from tacit.privacy.accounting import (
    HOPELESS_EPSILON,
    ROUNDING_PER_STEP,
    Steps,
    all_full_batch,
    epsilon,
    grid_of,
    merged,
    one_gaussian,
)
from tacit.privacy.events import Event, ExactRelease, GaussianSteps, Relation, SkellamSteps


def changed_epsilon(events: Sequence[Event], delta: float) -> float | None:
    """Return the ε between data sets in which one unit is changed into any other.

    Parameters
    ----------
    events
        Of one unit, under 'add or remove one'.
    delta
        δ in (0, 1), for all events together.

    Returns
    -------
    float or None
        ε; infinite where the other relation's is above half of `HOPELESS_EPSILON` already. None
        where nothing is known but that it is more: with sampled Skellam noise, or both kinds.

    Raises
    ------
    ValueError
        The events are under another relation.
    """
    if any(event.relation is not Relation.ADD_OR_REMOVE_ONE for event in events):
        raise ValueError("only of 'add or remove one' is it known what a changed unit costs")
    if any(isinstance(event, ExactRelease) for event in events):
        return math.inf
    if epsilon(events, delta) > HOPELESS_EPSILON / 2:
        return math.inf
    gaussian = [event for event in events if isinstance(event, GaussianSteps)]
    skellam = [event for event in events if isinstance(event, SkellamSteps)]
    if skellam:
        if gaussian or any(event.sampling_rate < 1 for event in skellam):
            return None
        # The difference of two vectors of integers is one, of twice the norm at most.
        further = [replace(each, l2_sensitivity=2 * each.l2_sensitivity) for each in skellam]
        return epsilon(further, delta)
    steps = merged(gaussian)
    if all_full_batch(steps):
        nearer = [replace(each, noise_multiplier=each.noise_multiplier / 2) for each in gaussian]
        return epsilon(nearer, delta)
    usable = delta - sum(steps.values()) * ROUNDING_PER_STEP
    if usable < delta / 2:
        return None
    return float(_loss(tuple(steps.items())).get_epsilon_for_delta(usable))


@lru_cache(maxsize=8)
def _loss(items: tuple[tuple[tuple[float, float], int], ...]) -> Any:
    """Return the privacy loss distribution of steps, between data sets with one unit changed."""
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import privacy_loss_distribution

    steps: Steps = dict(items)
    sampled = {key: count for key, count in steps.items() if key[1] < 1}
    if len(sampled) < len(steps):
        sampled[one_gaussian(steps), 1.0] = 1
    # Losses are those of half the noise, about.
    grid = grid_of({(sigma / 2, rate): count for (sigma, rate), count in sampled.items()})
    composed = None
    for (sigma, rate), count in sampled.items():
        each = privacy_loss_distribution.from_gaussian_mechanism(
            sigma,
            sampling_prob=rate,
            value_discretization_interval=grid,
            neighboring_relation=NeighboringRelation.REPLACE_ONE,
        ).self_compose(count)
        composed = each if composed is None else composed.compose(each)
    return composed
