"""The whole privacy profile of events: the δ that they have at any ε; a claim is one point of it.

An (ε, δ) guarantee is one point of a curve that events fix; who attacks may look at all of it.
"""

from collections.abc import Iterable, Sequence

from tacit.privacy.accounting import (
    ROUNDING_PER_STEP,
    all_full_batch,
    gaussian_loss,
    merged,
    one_gaussian,
    only_relation,
    rdp_curve,
)
from tacit.privacy.events import ExactRelease, NoisedSteps, SkellamSteps


def largest_profile(
    kinds: Iterable[Iterable[NoisedSteps]], epsilons: Sequence[float]
) -> list[float]:
    """Return at each ε the largest δ of several lists of events: see `profile`."""
    found = [profile(events, epsilons) for events in kinds]
    return [max(deltas) for deltas in zip(*found, strict=True)]


def profile(events: Iterable[NoisedSteps], epsilons: Sequence[float]) -> list[float]:
    """Return the δ that events together have at each ε.

    Parameters
    ----------
    events
        Events of one unit under one relation, at least one; nothing was released exactly.
    epsilons
        Each at least 0.

    Returns
    -------
    list of float
        Upper bounds: of Gaussian events exactly where every step is full batch (Balle and Wang
        2018, arXiv 1805.06530, theorem 8), else by PLD; with Skellam noise among them by RDP
        (Canonne, Kamath and Steinke 2020, arXiv 2004.00010, proposition 12), which is looser.

    Raises
    ------
    ValueError
        The events differ in unit or relation, or there are none that have such a curve.
    """
    events = tuple(events)
    relation = only_relation(events)
    if not events or any(isinstance(event, ExactRelease) for event in events):
        raise ValueError("what is released exactly, or not at all, has no privacy profile")
    steps = merged(events)
    skellam = [event for event in events if isinstance(event, SkellamSteps) and event.steps]
    if skellam:
        from dp_accounting.rdp.rdp_privacy_accountant import compute_delta

        from tacit.privacy.accounting_skellam import ORDERS, added_delta, divergences

        curve = sum(event.steps * divergences(event, ORDERS) for event in skellam)
        curve = curve + rdp_curve(steps, relation, ORDERS)
        return [
            float(compute_delta(ORDERS, curve, epsilon)[0]) + added_delta(skellam, epsilon)
            for epsilon in epsilons
        ]
    if all_full_batch(steps):
        from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

        loss = GaussianPrivacyLoss(one_gaussian(steps))
        return [float(loss.get_delta_for_epsilon(epsilon)) for epsilon in epsilons]
    sampled = gaussian_loss(steps, relation)
    rounding = sum(steps.values()) * ROUNDING_PER_STEP
    return [float(sampled.get_delta_for_epsilon(epsilon)) + rounding for epsilon in epsilons]
