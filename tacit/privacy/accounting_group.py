"""What several units together cost: data sets that differ by all of them, there or not there.

Where rows overlap, one measurement lies in several, and this is what a measurement costs. Clipped
vectors of k units sum to one of norm k C, which without sampling is one Gaussian with a k-th of the
noise multiplier. With sampling, what is seen is a mixture over which of the k were drawn; the
divergence behind (ε, δ) is jointly convex (Balle, Barthe and Gaboardi 2018, arXiv 1807.01647), so
that no mixture is told apart more easily than its worst part, in which all k were drawn.
"""

from collections.abc import Sequence
from dataclasses import replace

from tacit.privacy.accounting import epsilon
from tacit.privacy.events import Event, GaussianSteps, Relation, SkellamSteps


def group_epsilon(events: Sequence[Event], delta: float, size: int) -> float:
    """Return the ε between data sets of which one has `size` units that the other lacks.

    Parameters
    ----------
    events
        Of one unit, under 'add or remove one'.
    delta
        δ in (0, 1), for all events together.
    size
        How many units, at least 1.

    Returns
    -------
    float
        ε: exact for Gaussian noise without sampling, and with sampling what it would be without.

    Raises
    ------
    ValueError
        The events are under another relation, or `size` is no number of units.
    """
    if size < 1:
        raise ValueError(f"size={size} must be at least 1")
    if any(event.relation is not Relation.ADD_OR_REMOVE_ONE for event in events):
        raise ValueError("only of 'add or remove one' is it known what several units cost")
    return epsilon([_together(event, size) for event in events], delta)


def _together(event: Event, size: int) -> Event:
    if isinstance(event, GaussianSteps):
        nearer = event.noise_multiplier / size
        return replace(event, noise_multiplier=nearer, sampling_rate=1.0)
    if isinstance(event, SkellamSteps):
        further = size * event.l2_sensitivity
        return replace(event, l2_sensitivity=further, sampling_rate=1.0)
    return event
