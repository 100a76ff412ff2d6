"""The Skellam law: a bound on its tails, and its probabilities to 150 digits.

The symmetric law of variance μ has P(k) = e^-μ I_k(μ) (Skellam 1946, doi:10.2307/2981372): see
`tacit.privacy.skellam`, which draws from it.
"""

import math
from decimal import Context, Decimal, localcontext
from functools import lru_cache

DISTANCE = 2.0**-255
"""Largest total-variation distance of one draw of `tacit.privacy.skellam` from its law: e to the
`LOG_CUT` twice, which is what lies beyond its table on both sides, and less than 2**-300 for what
150 digits leave open."""

LOG_CUT = -257 * math.log(2)
"""Most log probability beyond each end of the sampler's table."""

FRACTION_BITS = 512
"""`exact_pmf` counts in units of 2**-512."""

_CONTEXT = Context(prec=200)
_LOG_LEFT_OUT = -330 * math.log(2)


def log_tail(variance: float, least: float) -> float:
    """Bound log P(X ≥ `least`) of Skellam noise of `variance`.

    Chernoff's bound at s = asinh(t/μ): the law's moment generating function is
    exp(μ (cosh s - 1)) (Boucheron, Lugosi and Massart 2013, "Concentration Inequalities", section
    2.2). It grows with the variance, so it holds for fewer shares too.

    Parameters
    ----------
    variance
        μ, positive.
    least
        t, at least 0.

    Returns
    -------
    float
        At most 0.
    """
    x = least / variance
    # t asinh(t/μ) - μ (√(1 + (t/μ)²) - 1), written so that nothing cancels where t/μ is small.
    return -variance * (x * math.asinh(x) - x * x / (1 + math.sqrt(1 + x * x)))


def reach(variance: float, log_probability: float) -> int:
    """Return the least t whose `log_tail` is at most `log_probability`.

    Raises
    ------
    ValueError
        `variance` or `log_probability` is out of range.
    """
    if not (0 < variance < math.inf and -math.inf < log_probability < 0):
        raise ValueError(f"variance={variance}, log_probability={log_probability}: no such tail")
    low, high = 0, 1
    while log_tail(variance, high) > log_probability:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if log_tail(variance, middle) > log_probability:
            low = middle
        else:
            high = middle
    return high


def exact_pmf(variance: float, place: int) -> int:
    """Compute 2**512 P(X = `place`) of Skellam noise, to within 2**212.

    The trapezoidal rule as in `tacit.privacy.skellam`, on so many points that what it adds and what
    its cut sum leaves out are below 2**-310; rounding in 200 digits is far below that.

    Parameters
    ----------
    variance
        μ, from 2**-4 to 2**60.
    place
        k, at most 20 √μ + 400 in absolute value.

    Returns
    -------
    int
        At least 0.
    """
    period = abs(place) + reach(variance, _LOG_LEFT_OUT)
    # As there: 1 - cos θ ≥ 2 θ²/π² up to π.
    last = math.pi * math.sqrt(-_LOG_LEFT_OUT / (2 * variance))
    count = min((period - 1) // 2, math.ceil(last * period / (2 * math.pi)))
    with localcontext(_CONTEXT):
        mu = Decimal(variance)
        total = Decimal(1)
        for j in range(1, count + 1):
            amplitude = (mu * (_cosine(j, period) - 1)).exp()
            total += 2 * amplitude * _cosine(j * place, period)
        if period % 2 == 0 and 2 * count + 2 == period:
            # θ = π is its own mirror image
            total += (-2 * mu).exp() * (-1 if place % 2 else 1)
        return max(0, int(total / period * 2**FRACTION_BITS))


def _cosine(numerator: int, period: int) -> Decimal:
    """Compute the cosine of a part of a full turn by its power series."""
    part = numerator % period
    turn = Decimal(min(part, period - part)) / period
    square = (2 * _pi() * turn) ** 2
    term = total = Decimal(1)
    n = 0
    while abs(term) > Decimal(10) ** -190:
        n += 2
        term *= -square / (n * (n - 1))
        total += term
    return total


@lru_cache(maxsize=1)
def _pi() -> Decimal:
    """Compute π = 16 arctan(1/5) - 4 arctan(1/239) (Machin 1706)."""

    def arctan_of_inverse(n: int) -> Decimal:
        power = total = Decimal(1) / n
        k = 1
        while power > Decimal(10) ** -198:
            power /= n * n
            k += 2
            total += power / k * (-1 if k % 4 == 3 else 1)
        return total

    with localcontext(_CONTEXT):
        return 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)
