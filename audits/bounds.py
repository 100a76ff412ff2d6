"""What guesses about canaries prove: lower bounds on ε, each with its confidence.

Whoever guesses which canaries were in a run, and is right too often, contradicts the run's claim.
Every bound here holds with probability at least its confidence, whatever the guesses are; none of
them says what ε is. Formulas are those of the papers named at each function; Φ is the normal law's.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from tacit.errors import ConfigurationError
from tacit.privacy.accounting import epsilon
from tacit.privacy.events import GaussianSteps

LARGEST: Final = 64.0
"""No bound is looked for above this ε: e^64 is beyond what any number of guesses shows."""

TradeOff = Callable[[float], float]
"""The inverse of a trade-off function f: from a false positive rate's complement to the other."""


@lru_cache(maxsize=4096)
def clopper_pearson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Return an interval that a binomial probability lies in.

    Clopper and Pearson 1934, from quantiles of the beta law; each side errs with half of
    1 - confidence.

    Parameters
    ----------
    successes, trials
        How many of how many; 0 of 0 says nothing.
    confidence
        In (0, 1).
    """
    from scipy.stats import beta

    if not 0 <= successes <= trials:
        raise ConfigurationError(f"{successes} of {trials} trials cannot have succeeded")
    side = _miss(confidence) / 2
    low = float(beta.ppf(side, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.isf(side, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def epsilon_one_run(
    canaries: int, guesses: int, right: int, delta: float, confidence: float
) -> float:
    """Return an ε below which (ε, δ)-differential privacy would be contradicted, or 0.

    Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run", arXiv
    2305.08846, theorem 5.2: each of m canaries is in by a fair coin, the attack guesses r of them.

    Parameters
    ----------
    canaries
        m.
    guesses
        r, from 0 to m; on the others the attack abstains.
    right
        How many guesses are right.
    delta
        Of the claim.
    confidence
        In (0, 1).
    """
    if not 0 <= right <= guesses <= canaries:
        raise ConfigurationError(f"{right} of {guesses} guesses on {canaries} cannot be right")
    missed = _miss(confidence)
    if not right:
        return 0.0

    def likely(epsilon: float) -> bool:
        return chance_of_so_many(canaries, guesses, right, epsilon, delta) > missed

    return _largest_rejected(likely)


def chance_of_so_many(
    canaries: int, guesses: int, right: int, epsilon: float, delta: float
) -> float:
    """Bound the probability of at least so many right guesses under (ε, δ)-DP: theorem 5.2."""
    import numpy as np
    from scipy.stats import binom

    rate = 1 / (1 + math.exp(-epsilon))
    law = binom(guesses, rate)
    base = float(law.sf(right - 1))
    if not delta:
        return base
    i = np.arange(1, right + 1)
    # P[v > B ≥ v - i] / i, largest over i.
    between = (law.cdf(right - 1) - law.cdf(right - i - 1)) / i
    return min(1.0, base + 2 * canaries * delta * float(between.max(initial=0.0)))


def epsilon_one_run_f(
    canaries: int, guesses: int, right: int, delta: float, confidence: float
) -> float:
    """Return an ε that the claim of a Gaussian mechanism would have to have at δ, at least, or 0.

    Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-Differential Privacy in One Run", arXiv
    2410.22235, algorithm 3, over the trade-off functions of Gaussian mechanisms; the ε at δ of the
    largest μ that is rejected, by `gaussian_epsilon`.

    Parameters
    ----------
    canaries, guesses, right, delta, confidence
        As in `epsilon_one_run`.
    """
    from scipy.special import ndtr, ndtri

    if not 0 <= right <= guesses <= canaries:
        raise ConfigurationError(f"{right} of {guesses} guesses on {canaries} cannot be right")
    missed = _miss(confidence)
    if not right:
        return 0.0

    def possible(mu: float) -> bool:
        def inverse(x: float) -> float:
            return float(ndtr(ndtri(x) - mu))

        return f_dp_possible(canaries, guesses, right, inverse, missed)

    mu = _largest_rejected(possible)
    return gaussian_epsilon(mu, delta) if mu else 0.0


def f_dp_possible(
    canaries: int, guesses: int, right: int, inverse: TradeOff, missed: float
) -> bool:
    """Tell whether so many right guesses are as likely as `missed` under a trade-off function.

    Algorithm 3 of Mahloujifar et al. 2024, for two choices for each canary.
    """
    r, h = missed * right / canaries, missed * (guesses - right) / canaries
    for i in range(right - 1, -1, -1):
        higher = max(h, inverse(min(1.0, r)))
        r = min(1.0, r + i / (guesses - i) * (higher - h))
        h = higher
        if r + h > guesses / canaries:
            return False
    return True


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return ε at δ of a Gaussian mechanism of sensitivity μ and unit noise."""
    return epsilon([GaussianSteps(1 / mu, 1.0, 1, 1.0)], delta)


def _largest_rejected(possible: Callable[[float], bool]) -> float:
    """Return the largest value that is not possible, rounded down; `possible` is monotone."""
    low, high = 0.0, 1.0
    if possible(low):
        return 0.0
    while not possible(high):
        low, high = high, 2 * high
        if low >= LARGEST:
            return LARGEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if possible(middle) else (middle, high)
    return low


def _miss(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ConfigurationError(f"confidence={confidence} must be between 0 and 1")
    return 1 - confidence
