"""What events cost: the ε that a list of events has spent at a given δ.

PLD is the number that is printed: a numerical upper bound that is within 0.1 % of exact at the
settings of training. RDP is looser and faster; at one order fixed beforehand it adds up over runs
that are chosen adaptively (`renyi_divergence`, for `tacit.privacy.ledger_filter`). PRV is another
author's code for what PLD computes, kept to check PLD. An approximation by a central limit
(Opacus's GDP accountant) is not offered: it reports too little. Where Skellam noise is among the
events, RDP is the number that is printed (`accountant_of_record`): a Gaussian's PLD is not its.

References
----------
Koskela, Jälkö and Honkela 2020, arXiv 1906.03049 (PLD); Doroshenko et al. 2022, arXiv 2207.04380
(its discretisation, an upper bound); Mironov 2017, arXiv 1702.07476 (RDP); Gopi, Lee and Wutschitz
2021, arXiv 2106.02848 (PRV); Balle and Wang 2018, arXiv 1805.06530 (one Gaussian, exactly).

Notes
-----
`dp_accounting`, `opacus` and numpy are imported where they are used: they take a second to load.
"""

import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from tacit.privacy.events import (
    Event,
    ExactRelease,
    GaussianSteps,
    NoisedSteps,
    Relation,
    SkellamSteps,
)

Steps = Mapping[tuple[float, float], int]
"""How many steps were taken at each (noise multiplier, sampling rate)."""

HOPELESS_EPSILON = 100.0
"""Where RDP is above this, the RDP number is returned: it is an upper bound too, odds of
e¹⁰⁰ protect nothing, and a PLD there can ask for gigabytes."""

_GRID_PER_DEVIATION = 32
"""Grid points per standard deviation of one step's privacy loss: overstates ε by about 0.01 %."""

_WIDEST_GRID = 1e-2
_MOST_POINTS = 2**17
"""One step's loss takes about this many grid points at most: a second, tens of megabytes."""

ROUNDING_PER_STEP = 2.0**-52
"""δ kept back for rounding in the Fourier transform: each composed step moves δ by up to 2.3e-17
(measured against exact Gaussians up to 10⁵ steps; at δ = 1e-12 and 10⁴ steps, ε came out 0.3 % too
small). Ten times that is kept."""

_RDP_ROUNDING = 1e-14
"""Added to each step's Rényi divergences. They come out up to 4e-16 too small, tiny ones negative,
and one that is not positive would be read as ε = 0."""

_LEAST_NOISE, _MOST_NOISE = 1e-6, 1e12
"""Noise multipliers that floating point can square. Less noise counts as none, more as the most."""


class Accountant(StrEnum):
    """How ε is computed from events."""

    PLD = "pld"
    """Privacy loss distribution: the number of record."""

    RDP = "rdp"
    """Rényi differential privacy at the best of many orders: looser, never below PLD."""

    PRV = "prv"
    """Opacus's privacy random variables: a cross-check of PLD, within 0.02 + 1 %."""


def epsilon(
    events: Iterable[Event], delta: float, accountant: Accountant = Accountant.PLD
) -> float:
    """Return the ε that these events together have spent at `delta`.

    Parameters
    ----------
    events
        Events of one unit under one relation. A `sampling_rate` below 1 is taken at its word: it
        says that nobody who sees the outputs sees who was sampled.
    delta
        δ in (0, 1), for all events together.
    accountant
        How to compute it. PLD is exact where every step is full batch (`sampling_rate` 1). With
        Skellam noise among the events it is RDP, whatever is asked for: nothing else is valid.

    Returns
    -------
    float
        ε at least 0; infinite as soon as anything was released exactly. With PLD or PRV, RDP's
        number where that is above `HOPELESS_EPSILON`; with PLD also where `delta` is so small
        (below 5e-16 × steps) that rounding would show in it.

    Raises
    ------
    ValueError
        The events differ in unit or relation, or `delta` is not in (0, 1).
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta={delta} must be in (0, 1)")
    return _epsilon(tuple(events), delta, accountant)


@lru_cache(maxsize=1024)
def _epsilon(events: tuple[Event, ...], delta: float, accountant: Accountant) -> float:
    """Compute ε once for all sites that have spent the same."""
    relation = only_relation(events)
    if any(isinstance(event, ExactRelease) for event in events):
        return math.inf
    steps, skellam = merged(events), _skellam(events)
    if not steps and not skellam:
        return 0.0
    if any(sigma < _LEAST_NOISE for sigma, _ in steps):
        return math.inf
    if skellam:
        from tacit.privacy.accounting_skellam import ORDERS, skellam_epsilon

        return skellam_epsilon(skellam, delta, beside=rdp_curve(steps, relation, ORDERS))
    if accountant is Accountant.PLD and all_full_batch(steps):
        return _gaussian_epsilon(one_gaussian(steps), delta)
    bound = _rdp_epsilon(steps, delta, relation)
    if accountant is Accountant.RDP or bound > HOPELESS_EPSILON:
        return bound
    if accountant is Accountant.PRV:
        return _prv_epsilon(steps, delta)
    usable = delta - sum(steps.values()) * ROUNDING_PER_STEP
    if usable < delta / 2:
        return bound
    # Both are upper bounds. At ε of 1e-5 the grid's rounding can make PLD the looser one.
    return min(bound, _pld_epsilon(steps, usable, relation))


def accountant_of_record(events: Iterable[Event]) -> Accountant:
    """Return whose number `epsilon` gives where PLD is asked for: RDP's with Skellam noise."""
    return Accountant.RDP if _skellam(events) else Accountant.PLD


def epsilon_by_steps(event: NoisedSteps, checkpoints: Sequence[int], delta: float) -> list[float]:
    """Return the ε that `event` has spent after each of `checkpoints` of its steps.

    Parameters
    ----------
    event
        A planned run.
    checkpoints
        Numbers of steps, each from 0 to ``event.steps``.
    delta
        δ in (0, 1).

    Returns
    -------
    list of float
        ``epsilon([replace(event, steps=k)], delta)`` for each checkpoint k; what all of them share
        is computed once.

    Raises
    ------
    ValueError
        A checkpoint lies outside the plan, or `delta` is not in (0, 1).
    """
    for steps in checkpoints:
        if not 0 <= steps <= event.steps:
            raise ValueError(f"checkpoint {steps} must be from 0 to the plan's {event.steps} steps")
    return [epsilon([replace(event, steps=steps)], delta) for steps in checkpoints]


def renyi_divergence(events: Iterable[Event], order: int) -> float:
    """Return the Rényi divergence of one order that these events together have spent.

    Parameters
    ----------
    events
        Events of one unit under one relation.
    order
        α, at least 2.

    Returns
    -------
    float
        The sum over all steps, whatever order the events come in; infinite as soon as anything was
        released exactly. Skellam noise is taken to be exactly of its law. Its sampler is less than
        2**-150 away over any run, which moves δ by that times 1 + e^ε.

    Raises
    ------
    ValueError
        The events differ in unit or relation.
    """
    events = tuple(events)
    relation = only_relation(events)
    steps = merged(events)
    exact = any(isinstance(event, ExactRelease) for event in events)
    if exact or any(sigma < _LEAST_NOISE for sigma, _ in steps):
        return math.inf
    gaussian = (
        n * float(_one_step_rdp(sigma, rate, relation, (order,))[0])
        for (sigma, rate), n in steps.items()
    )
    return math.fsum((*gaussian, *_skellam_divergences(_skellam(events), order)))


def only_relation(events: Sequence[Event]) -> Relation:
    """Return the relation of all events; ε of different units or relations cannot be added."""
    for name in ("unit", "relation"):
        found = sorted({str(getattr(event, name)) for event in events})
        if len(found) > 1:
            raise ValueError(
                f"events of different {name} ({' and '.join(found)}) have no ε in common: "
                f"account for each {name} by itself"
            )
    return events[0].relation if events else Relation.ADD_OR_REMOVE_ONE


def merged(events: Iterable[Event]) -> Steps:
    """Add up the Gaussian steps of one noise and one rate."""
    steps: dict[tuple[float, float], int] = {}
    for event in events:
        if isinstance(event, GaussianSteps) and event.steps:
            key = min(event.noise_multiplier, _MOST_NOISE), event.sampling_rate
            steps[key] = steps.get(key, 0) + event.steps
    return steps


def _skellam(events: Iterable[Event]) -> list[SkellamSteps]:
    return [event for event in events if isinstance(event, SkellamSteps) and event.steps]


def _skellam_divergences(events: Sequence[SkellamSteps], order: int) -> list[float]:
    if not events:
        return []
    from tacit.privacy.accounting_skellam import divergences

    return [event.steps * float(divergences(event, (order,))[0]) for event in events]


def all_full_batch(steps: Steps) -> bool:
    """Tell whether nothing was sampled."""
    return all(rate == 1 for _, rate in steps)


def one_gaussian(steps: Steps) -> float:
    """Return the noise multiplier of the one Gaussian that all full-batch steps amount to.

    Gaussians compose by adding 1/σ² (Dong, Roth and Su 2019, arXiv 1905.02383, corollary 3.3).
    """
    return 1 / math.sqrt(sum(n / sigma**2 for (sigma, rate), n in steps.items() if rate == 1))


def _gaussian_epsilon(sigma: float, delta: float) -> float:
    """Invert δ(ε) of a single Gaussian (Balle and Wang 2018, arXiv 1805.06530, theorem 8)."""
    from dp_accounting import get_epsilon_gaussian

    return float(get_epsilon_gaussian(sigma, delta))


def _pld_epsilon(steps: Steps, delta: float, relation: Relation) -> float:
    return float(gaussian_loss(steps, relation).get_epsilon_for_delta(delta))


def gaussian_loss(steps: Steps, relation: Relation) -> Any:
    """Return the privacy loss distribution of steps, as `dp_accounting` has it."""
    return _composed(tuple(steps.items()), relation)


@lru_cache(maxsize=8)
def _composed(items: tuple[tuple[tuple[float, float], int], ...], relation: Relation) -> Any:
    steps = dict(items)
    sampled = {key: n for key, n in steps.items() if key[1] < 1}
    if len(sampled) < len(steps):
        sampled[one_gaussian(steps), 1.0] = 1
    grid = grid_of(sampled)
    first, *others = (
        _one_step_pld(sigma, rate, grid, relation).self_compose(n)
        for (sigma, rate), n in sampled.items()
    )
    for other in others:
        first = first.compose(other)
    return first


@lru_cache(maxsize=8)
def _one_step_pld(sigma: float, rate: float, grid: float, relation: Relation) -> Any:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution.from_gaussian_mechanism(
        sigma,
        sampling_prob=rate,
        value_discretization_interval=grid,
        neighboring_relation=_neighbours(relation),
    )


def grid_of(steps: Steps) -> float:
    """Return the spacing of privacy losses on which these steps can be composed.

    A spacing h adds about h²/12 to the variance of each step's loss, so h follows its deviation:
    dp_accounting's fixed 1e-4 gave ε = 0.0167 for 0.0125 (σ = 20, q = 0.001, 10⁴ steps), and
    where it is finer than needed it only costs time.
    """
    # χ² divergence of one step: E[(e^loss - 1)²] = q² (e^(1/σ²) - 1), capped against overflow.
    variance = sum(
        n * rate**2 * math.expm1(min(sigma**-2, 100)) for (sigma, rate), n in steps.items()
    ) / sum(steps.values())
    # The noise is cut at mass e^-50, within ten deviations; the loss there is at most this.
    furthest = max(
        max(0.0, (10 * sigma + 0.5) / sigma**2 + math.log(rate)) + math.log(2)
        for sigma, rate in steps
    )
    wanted = min(_WIDEST_GRID, math.sqrt(variance) / _GRID_PER_DEVIATION)
    return max(wanted, furthest / _MOST_POINTS)


def _rdp_epsilon(steps: Steps, delta: float, relation: Relation) -> float:
    from dp_accounting import rdp

    curve = rdp_curve(steps, relation)
    bound, _ = rdp.compute_epsilon(rdp.RdpAccountant().orders, curve, delta)
    return float(bound)


def rdp_curve(steps: Steps, relation: Relation, orders: tuple[int, ...] | None = None) -> Any:
    """Return the divergence of steps at each of `orders`, or at each of dp_accounting's own."""
    return sum(n * _one_step_rdp(*key, relation, orders) for key, n in steps.items())


@lru_cache(maxsize=64)
def _one_step_rdp(
    sigma: float, rate: float, relation: Relation, orders: tuple[int, ...] | None = None
) -> Any:
    """Return the divergence at each of `orders`, or at each of dp_accounting's own."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, rdp

    accountant = rdp.RdpAccountant(orders, _neighbours(relation))
    with _dropped_orders_unmentioned():
        accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(sigma)))
    return accountant.rdp.clip(min=0) + _RDP_ROUNDING


@contextmanager
def _dropped_orders_unmentioned() -> Iterator[None]:
    """Keep quiet about Rényi orders that are left out: that only loosens the bound."""

    def worth_saying(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("_compute_log_a_frac failed to converge")

    logger = logging.getLogger("absl")
    logger.addFilter(worth_saying)
    try:
        yield
    finally:
        logger.removeFilter(worth_saying)


def _prv_epsilon(steps: Steps, delta: float) -> float:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(sigma, rate, n) for (sigma, rate), n in steps.items()]
    with warnings.catch_warnings():
        # That logarithms of 0 come up, and that its own RDP bound, where it only begins, is loose.
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta))


def _neighbours(relation: Relation) -> Any:
    from dp_accounting import NeighboringRelation

    match relation:
        case Relation.ADD_OR_REMOVE_ONE:
            return NeighboringRelation.ADD_OR_REMOVE_ONE
        case Relation.REPLACE_WITH_ZERO:
            # "Zero-out" adjacency: Kairouz et al. 2021, arXiv 2103.00039, definition 1.1.
            return NeighboringRelation.REPLACE_SPECIAL
