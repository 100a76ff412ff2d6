"""What noised integer sums cost: Rényi divergences of the Skellam mechanism.

Skellam noise is not Gaussian, and no privacy loss distribution is computed for it: its loss depends
on the direction of a whole vector. Its own theorem bounds the Rényi divergence of every integer
order, and exceeds a Gaussian's of the same variance by less than (Δ₂² + Δ₁) / μ² for each unit of
the order, which is nothing on a fine grid.

References
----------
Agarwal, Kairouz and Liu 2021, arXiv 2110.04995, corollary 3.6 (one vector); Mironov, Talwar and
Zhang 2019, arXiv 1908.10530, section 3 (sampling); van Erven and Harremoës 2014, arXiv 1206.2459,
theorem 13 (mixtures); Canonne, Kamath and Steinke 2020, arXiv 2004.00010, proposition 12 (ε).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tacit.privacy.events import SkellamSteps
from tacit.privacy.skellam_law import DISTANCE

Curve = NDArray[np.float64]

MOST_SHARES = 2**20
"""Most shares that make up one noise, of each of which a draw may be off by `DISTANCE`."""

_ADDED = 1e-14
"""Added to each step's divergences, as to a Gaussian's: none may come out as 0 by rounding."""

_ROUNDING = 1e-9
"""Relative, added to sums over binomials: `gammaln` is off by 1e-11 of them at the largest order.
"""


def _orders() -> tuple[int, ...]:
    orders = list(range(2, 65))
    while orders[-1] < 2**14:
        orders.append(max(orders[-1] + 1, round(orders[-1] * 1.04)))
    return tuple(orders)


ORDERS = _orders()
"""Integer orders at which ε is looked for: all to 64, then 4 % apart up to 2**14, which suits ε of
0.002 at δ = 1e-5. The best lies at most 2 % from one of them, which costs about 0.02 %."""


def divergences(event: SkellamSteps, orders: tuple[int, ...]) -> Curve:
    """Bound the Rényi divergence of one step of an event.

    Without sampling, of integer vectors within Δ₂ of one another (corollary 3.6)::

        D_α ≤ α Δ₂² / 2μ + min(((2α - 1) Δ₂² + 6 Δ₁) / 4μ², 3 Δ₁ / 2μ)

    With sampling, write P for the law of the sum without the unit, Q for that with it, and M for
    (1 - q) P + q Q. Whom else a step samples mixes such pairs, and a divergence of mixtures is at
    most the largest of the parts (theorem 13). Then::

        exp((α - 1) D_α(M ‖ P)) = Σ_k C(α, k) (1 - q)^(α-k) q^k E_P[(Q/P)^k]

    by the binomial theorem, in which E_P[(Q/P)^k] = exp((k - 1) D_k(Q ‖ P)), and 1 for k below 2.

    The other direction is never larger. Reflection at half the shift between P and Q is a bijection
    of the integers that swaps the two, because the law is symmetric. (Mironov, Talwar and Zhang's
    theorem 5 has this for densities.) Averaged over it, E_M[(P/M)^α] ≤ E_P[(M/P)^α] follows from
    the same at each pair of points: with a ≤ b for P and Q at one of them, so that M is a + t there
    and b - t at its image, and g(u) = u^α - u^(1-α), it says that (b - t) g(b / (b - t)) is at most
    a g((a + t) / a). Both are x g(1 + t / x), which falls in x where g is convex on u ≥ 1 and
    g(1) = 0; and g″ = α (α - 1) (u^(α-2) - u^(-α-1)) ≥ 0 there.

    Parameters
    ----------
    event
        Its number of steps is not looked at.
    orders
        Each α, an integer of at least 2.

    Returns
    -------
    ndarray
        float64, one divergence for each order, of the exact law: what the sampler is off by is in
        `skellam_epsilon`.
    """
    return _one_step(replace(event, steps=1), orders) + _ADDED


def skellam_epsilon(
    events: Sequence[SkellamSteps], delta: float, *, beside: Curve | float = 0.0
) -> float:
    """Return the ε that Skellam events have spent at `delta`, together with what lies beside them.

    Parameters
    ----------
    events
        Events of one unit under one relation.
    delta
        δ in (0, 1).
    beside
        Rényi divergences of other events, one for each of `ORDERS`.

    Returns
    -------
    float
        By proposition 12 of Canonne, Kamath and Steinke 2020, at the best of `ORDERS`. What
        `added_delta` says is kept back, and where it is over half of δ, at an ε above 100, the
        number is infinite.
    """
    from dp_accounting import rdp

    curve = sum((event.steps * divergences(event, ORDERS) for event in events), start=beside)

    def bound(delta: float) -> float:
        return float(rdp.compute_epsilon(ORDERS, curve, delta)[0])

    # Where half of δ is left, ε is at most the one at half of δ.
    kept = added_delta(events, bound(delta / 2))
    return bound(delta - kept) if kept <= delta / 2 else math.inf


def added_delta(events: Sequence[SkellamSteps], epsilon: float) -> float:
    """Return the (1 + e^ε) τ that laws which are τ away from those accounted for add to δ."""
    away = sum(DISTANCE * MOST_SHARES * event.dimension * event.steps for event in events)
    return (1 + math.exp(min(epsilon, 700.0))) * away


@lru_cache(maxsize=256)
def _one_step(event: SkellamSteps, orders: tuple[int, ...]) -> Curve:
    rate = event.sampling_rate
    if rate == 1:
        return _whole(event, np.array(orders, dtype=float))
    curve = np.array([_sampled(event, order) for order in orders])
    # Sampling never costs more than taking part in every step: M lies between P and Q.
    least: Curve = np.minimum(curve, _whole(event, np.array(orders, dtype=float)))
    return least


def _whole(event: SkellamSteps, orders: Curve) -> Curve:
    """Corollary 3.6 of Agarwal, Kairouz and Liu 2021."""
    mu, l2, l1 = event.counted_variance, event.l2_sensitivity, event.l1_sensitivity
    squared = l2 * l2  # unlike l2**2, infinite where it is too large
    fine = ((2 * orders - 1) * squared + 6 * l1) / (4 * mu) / mu
    curve: Curve = orders * squared / (2 * mu) + np.minimum(fine, 3 * l1 / (2 * mu))
    return curve


def _sampled(event: SkellamSteps, order: int) -> float:
    from scipy.special import gammaln, logsumexp

    rate = event.sampling_rate
    k = np.arange(2, order + 1, dtype=float)
    # Not 0, whose logarithm is taken.
    moments = np.maximum((k - 1) * _whole(event, k), 1e-300)
    logs = (
        gammaln(order + 1)
        - gammaln(k + 1)
        - gammaln(order - k + 1)
        + (order - k) * np.log1p(-rate)
        + k * np.log(rate)
        # log(e^x - 1): binomials add up to 1, so the sum less 1 is that of these terms, and small
        # divergences do not drown in it.
        + moments
        + np.log(-np.expm1(-moments))
    )
    return float(np.logaddexp(0, logsumexp(logs) + _ROUNDING)) / (order - 1)
