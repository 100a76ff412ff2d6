"""How near Skellam noise is to Gaussian noise, and what that says of ε.

On a fine grid the two can hardly be told apart: with a variance of 2**50 one draw differs from a
rounded Gaussian by less than 2**-50 in total variation. A rounded Gaussian is a Gaussian that was
computed with afterwards, so for integer vectors its steps cost at most what a Gaussian's cost; and
all that Skellam noise releases is within τ of what they release, where τ adds up over draws and
steps, whatever later steps depend on. So the exact ε of a Gaussian holds for Skellam noise once
(1 + e^ε) τ is taken off δ (`tacit.privacy.accounting_skellam.at_a_distance`). That is less than
RDP's number where the grid is fine (0.100 for 0.115 on the heart sites), and says nothing where it
is coarse or the dimension huge.

References
----------
Feller 1971, "An Introduction to Probability Theory and Its Applications" II, chapters XV
(inversion) and XIX (Poisson's sum over a grid).
"""

import math
from collections.abc import Iterable

from tacit.privacy.accounting_skellam import MOST_SHARES
from tacit.privacy.events import GaussianSteps, SkellamSteps
from tacit.privacy.skellam_law import DISTANCE, reach

LEAST_VARIANCE = 1000.0
"""Below, `distance_to_gaussian` says 1."""


def distance_to_gaussian(variance: float) -> float:
    """Bound the total variation between Skellam noise and a rounded Gaussian.

    The Gaussian has variance s² = μ - 1/12, to which rounding adds about 1/12. Let P be the one law
    and R the other. Half the sum of |P(k) - R(k)| is at most (t + 1/2) times their largest
    difference, for |k| ≤ t, and half the tails beyond. `reach` bounds both tails: a Gaussian's
    exponent t²/2s² is larger than Skellam's.

    By inversion the largest difference is at most that of the characteristic functions, integrated
    over [-π, π] and divided by 2π. Write them as e^-a and e^-b with a = μ (1 - cos θ) and::

        b = s² θ²/2 - log(sin(θ/2) / (θ/2)) = μ θ²/2 + r,  0 ≤ r ≤ 0.0005 θ⁴

    The series of the logarithm has a first term θ²/24 and positive ones after it, so that r / θ⁴ is
    largest at π, where it is 0.00042. (Poisson's sum adds to e^-b images of it that lie 2π and more
    away: less than 3 e^(-π² s²/2).) With 1 - cos θ between θ²/2 - θ⁴/24 and θ²/2,
    0 ≤ b - a ≤ (μ + 0.012) θ⁴/24, and |e^-a - e^-b| ≤ (b - a) e^-a. Up to 1, a ≥ 11/24 μ θ²; beyond
    it, a and b are at least 2 μ θ²/π² ≥ 0.2 μ.

    Parameters
    ----------
    variance
        μ.

    Returns
    -------
    float
        About 0.6 / μ (0.058 / μ is the truth); 1 below `LEAST_VARIANCE`.
    """
    if variance < LEAST_VARIANCE:
        return 1.0
    # ∫ θ⁴ e^(-c θ²/2) dθ = 3 √(2π) c^(-5/2), with c = 11/12 μ.
    inner: float = (
        (variance + 0.012) / 24 * 3 / math.sqrt(2 * math.pi) * (11 / 12 * variance) ** -2.5
    )
    # The rest of the integral is below 1.4 e^(-0.2 μ), the images far below.
    largest = inner + 2 * math.exp(-0.2 * variance)
    log_tail = -math.log(variance) - 20
    return (reach(variance, log_tail) + 0.5) * largest + 2 * math.exp(log_tail)


def nearby(events: Iterable[SkellamSteps]) -> tuple[list[GaussianSteps], float]:
    """Return Gaussian steps, and how far all that Skellam steps release is from what they do.

    Parameters
    ----------
    events
        Integer sums with Skellam noise.

    Returns
    -------
    gaussians : list of GaussianSteps
        One for each event, whose ε is at least that of the same sums with rounded Gaussian noise.
    away : float
        Total variation over all draws, what the sampler is off by included; it may be above 1.
    """
    gaussians, away = [], 0.0
    for event in events:
        draws = event.dimension * event.steps
        away += draws * (distance_to_gaussian(event.variance) + MOST_SHARES * DISTANCE)
        deviation = math.sqrt(max(event.variance - 1 / 12, event.variance / 2))
        gaussians.append(
            GaussianSteps(
                deviation / event.l2_sensitivity,
                event.sampling_rate,
                event.steps,
                event.l2_sensitivity,
                event.unit,
                event.relation,
            )
        )
    return gaussians, away
