"""Noise in shares: how much each site adds so that what honest survivors add protects every site.

Each site adds Skellam noise of one variance to its own vector, and only the sum is seen. Whoever
looks at it may know some shares: those of sites that collude with it, and a site that looks knows
its own. The rest, (fewest survivors - colluders) shares, is what is counted. More survivors only
add noise::

    noise = shared_noise({"north": Terms(norm=w * C / B, most_units=200), …}, epsilon=1, …)
    epsilon([noise.together("north")], delta)   # with the honest majority: at most 1
    epsilon([noise.alone("north")], delta)      # should everybody else collude

Every site has a sensitivity of its own, weight × clip ÷ divisor. The noise is set for the site
whose ε would be largest; noise set for another's sensitivity, or for the mean, leaves some site
with less than was promised.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context

from tacit.errors import ConfigurationError
from tacit.privacy.accounting import epsilon as epsilon_of
from tacit.privacy.events import Relation, SkellamSteps, Unit
from tacit.privacy.grid import BITS, Grid

LOG2_WRAP_CHANCE = -40.0
"""log₂ of the largest probability that any sum of a run wraps around."""

MOST_ROUNDING_COST = 0.05
"""Most by which rounding may raise the noise: a grid that costs more is refused."""

_FIVE_DIGITS_UP = Context(prec=5, rounding=ROUND_CEILING)
_MOST_MULTIPLIER = 2.0**40
"""Noise relative to sensitivity beyond which no budget is looked for."""

_FINE = 2.0**30
"""Spacings in the largest sensitivity of a grid whose rounding costs nothing."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one site brings to each sum; all of it is public.

    Parameters
    ----------
    norm
        Largest L2 norm of one unit's vector as it enters the sum: weight × clip ÷ divisor.
    most_units
        Most units in one of its sums, such as its declared size; 1 where the unit is the client. A
        sum of more is clamped, which costs accuracy and no privacy.
    sampling_rate
        Probability in (0, 1] with which a unit enters a sum, unseen by whoever sees the sums.

    Raises
    ------
    ConfigurationError
        A value is out of range.
    """

    norm: float
    most_units: int
    sampling_rate: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.norm) and self.norm > 0):
            raise ConfigurationError(f"norm={self.norm} must be positive and finite")
        if self.most_units < 1:
            raise ConfigurationError(f"most_units={self.most_units} must be at least 1")
        if not 0 < self.sampling_rate <= 1:
            raise ConfigurationError(f"sampling_rate={self.sampling_rate} must be in (0, 1]")


@dataclass(frozen=True, slots=True)
class SharedNoise:
    """A grid and the noise that each site adds on it.

    Parameters
    ----------
    grid
        On which vectors are rounded and summed.
    variance
        Of each site's own share, in squared units of the grid.
    terms
        What each site brings.
    honest
        How many shares are counted on: fewest survivors less colluders.
    steps
        Number of sums in the run.
    rounding_cost
        By which part the grid raises the standard deviation of a sum's error: noise is set for
        sensitivities after rounding, and rounding moves each unit's coordinate with a variance of
        at most 1/4.
    unit, relation
        Whose presence is hidden, between which data sets.
    """

    grid: Grid
    variance: float
    terms: Mapping[str, Terms]
    honest: int
    steps: int
    rounding_cost: float
    unit: Unit = Unit.RECORD
    relation: Relation = Relation.ADD_OR_REMOVE_ONE

    def together(self, site: str) -> SkellamSteps:
        """Say what the run releases of a site, as long as `honest` shares are unknown and added."""
        return self._event(site, self.honest)

    def alone(self, site: str) -> SkellamSteps:
        """Say what it releases should all the others collude: only the site's own share counts."""
        return self._event(site, 1)

    def total_variance(self, survivors: int) -> float:
        """Return the variance of the noise on a sum of `survivors` vectors, in real units."""
        return survivors * self.variance * self.grid.spacing**2

    def _event(self, site: str, shares: int) -> SkellamSteps:
        terms = self.terms[site]
        return SkellamSteps(
            self.grid.l2_sensitivity(terms.norm),
            self.variance,
            self.grid.dimension,
            terms.sampling_rate,
            self.steps,
            self.unit,
            self.relation,
            shares,
        )


def shared_noise(
    terms: Mapping[str, Terms],
    *,
    epsilon: float,
    delta: float,
    steps: int,
    dimension: int,
    fewest: int,
    colluders: int = 1,
    bits: int = 32,
    sums: int | None = None,
    unit: Unit = Unit.RECORD,
    relation: Relation = Relation.ADD_OR_REMOVE_ONE,
) -> SharedNoise:
    """Return the least shares with which every site keeps within a budget, and their grid.

    The grid is the finest on which sums without noise never wrap, and with the noise of all sites
    the chance that any sum of the run does is at most 2**-40.

    Parameters
    ----------
    terms
        What each site brings, by name.
    epsilon, delta
        Budget of the whole run for each site's units, ε > 0 and δ in (0, 1), by RDP.
    steps
        In how many sums of the run each site is, at least 1.
    dimension
        Number of coordinates, at least 1.
    fewest
        Fewest vectors in a sum: with fewer left, no sum may be opened.
    colluders
        How many shares in any sum whoever the guarantee is against may know. At least 1 where the
        guarantee is also against other sites, each of which knows its own share.
    bits
        32, or 16 where rounding costs little: `Grid`.
    sums
        How many sums the run has; None where every site is in each.
    unit, relation
        Whose presence is hidden, between which data sets.

    Returns
    -------
    SharedNoise
        Its `together` costs at most `epsilon` for every site; the variance is rounded up to five
        digits.

    Raises
    ------
    ConfigurationError
        A value is out of range, no share is left to count on, the budget is below what can be
        computed, the sum does not fit the bits, or rounding would raise the noise by over 5 %.
    """
    _check(terms, epsilon, delta, steps, dimension, bits)
    honest = fewest - colluders
    if colluders < 0 or honest < 1 or fewest > len(terms):
        raise ConfigurationError(
            f"fewest={fewest} of {len(terms)} sites less colluders={colluders} must leave a share "
            "to count on: take from 1 + colluders to the number of sites"
        )
    largest = max(each.norm for each in terms.values())

    def least(sensitivity: Callable[[float], float]) -> float:
        events = [
            SkellamSteps(
                sensitivity(each.norm), 1.0, dimension, each.sampling_rate, steps, unit, relation
            )
            for each in terms.values()
        ]
        return _least_share(events, honest, epsilon, delta)

    # Of one share, in real units, were there no grid.
    ideal = least(lambda norm: norm / largest * _FINE) * (largest / _FINE) ** 2
    rounding = sum(each.most_units for each in terms.values()) / 4 / len(terms)
    for grid in _grids(terms, bits, dimension):
        if _wraps(grid, ideal / grid.spacing**2, sums or steps):
            continue
        variance = least(grid.l2_sensitivity)
        error = (variance + rounding) * grid.spacing**2 / ideal
        cost = max(0.0, math.sqrt(error) - 1)  # five digits of either variance may hide it
        if cost > MOST_ROUNDING_COST:  # wider grids only cost more
            raise ConfigurationError(
                f"rounding {dimension} coordinates to {bits} bits costs {100 * cost:.3g} % more "
                f"noise, over {100 * MOST_ROUNDING_COST:g} %: {_way_out(bits)}"
            )
        if not _wraps(grid, variance, sums or steps):
            return SharedNoise(grid, variance, dict(terms), honest, steps, cost, unit, relation)
    raise ConfigurationError(
        f"the sum of {len(terms)} sites and its noise do not fit {bits} bits on any grid: "
        + _way_out(bits)
    )


def _way_out(bits: int) -> str:
    return "take 32 bits" if bits == 16 else "declare fewer units a sum, or take fewer sites"


def _grids(terms: Mapping[str, Terms], bits: int, dimension: int) -> Iterator[Grid]:
    """Give the grids on which sums without noise fit, finest first."""
    norm = max(each.norm for each in terms.values())
    exponent = math.floor(math.log2(norm)) - 31
    # Up to a grid on which the longest vector is a quarter of a step.
    while (spacing := 2.0**exponent) <= 4 * norm:
        exponent += 1
        # A coordinate is at most its vector's norm, and rounding stops at the next whole number.
        largest = max(each.most_units * math.ceil(each.norm / spacing) for each in terms.values())
        if len(terms) * largest < 1 << bits - 1 and norm / spacing < 2**30:
            yield Grid(bits, spacing, dimension, len(terms), largest)


def _wraps(grid: Grid, variance: float, steps: int) -> bool:
    """Tell whether shares of a variance, one of each site, wrap sums too often."""
    return grid.log2_wrap_chance(grid.sites * variance, steps) > LOG2_WRAP_CHANCE


def _least_share(
    events: Sequence[SkellamSteps], honest: int, epsilon: float, delta: float
) -> float:
    """Return the least variance, of five digits, of which `honest` shares keep all within ε."""
    from scipy.optimize import brentq

    # At one sampling rate, more sensitivity only costs more.
    worst: dict[float, SkellamSteps] = {}
    for event in events:
        known = worst.get(event.sampling_rate)
        if known is None or event.l2_sensitivity > known.l2_sensitivity:
            worst[event.sampling_rate] = event

    def cost(share: float) -> float:
        return max(
            epsilon_of([replace(event, variance=share, shares=honest)], delta)
            for event in worst.values()
        )

    unit = max(event.l2_sensitivity for event in worst.values()) ** 2
    high = unit
    while cost(high) > epsilon:
        high *= 4
        if high > unit * _MOST_MULTIPLIER**2:
            raise ConfigurationError(
                f"privacy.epsilon={epsilon:g} at privacy.delta={delta:g} is below what can be "
                "computed for noise in shares: take a larger ε or δ"
            )
    low = high / 4
    while cost(low) <= epsilon:
        high, low = low, low / 4

    def excess(log_share: float) -> float:
        # Infinite is too much like any other.
        return min(cost(math.exp(log_share)), 2 * epsilon) - epsilon

    close = math.exp(float(brentq(excess, math.log(low), math.log(high), xtol=2e-5)))
    share = _FIVE_DIGITS_UP.create_decimal_from_float(close)
    while cost(float(share)) > epsilon:
        share = _FIVE_DIGITS_UP.next_plus(share)
    return float(share)


def _check(
    terms: Mapping[str, Terms], epsilon: float, delta: float, steps: int, dimension: int, bits: int
) -> None:
    if not terms:
        raise ConfigurationError("noise in shares needs sites: none are named")
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ConfigurationError(
            f"privacy.epsilon={epsilon} must be positive and finite: try privacy.epsilon=1"
        )
    if not 0 < delta < 1:
        raise ConfigurationError(f"privacy.delta={delta} must be between 0 and 1: try 1e-5")
    if steps < 1:
        raise ConfigurationError(f"steps={steps} must be at least 1")
    if not 1 <= dimension <= 2**48:
        raise ConfigurationError(f"dimension={dimension} must be from 1 to 2**48")
    if bits not in BITS:
        raise ConfigurationError(f"bits={bits} must be 16 or 32")
