"""Noise in shares: enough for every site whoever drops out or colludes, and hardly more."""

import math
from dataclasses import replace

import pytest
import torch
from dp_accounting import get_epsilon_gaussian, get_sigma_gaussian
from hypothesis import given, settings
from hypothesis import strategies as st
from randomness_example import seeded
from scipy.stats import norm

from tacit.errors import ConfigurationError
from tacit.privacy.accounting import epsilon
from tacit.privacy.events import Relation, Unit
from tacit.privacy.shares import LOG2_WRAP_CHANCE, Terms, shared_noise
from tacit.privacy.skellam import skellam

SIZES = {"cleveland": 199, "hungarian": 172, "switzerland": 85, "long_beach": 30}
POOLED = {name: Terms(1 / 486, size) for name, size in SIZES.items()}
EQUAL = {name: Terms(0.25 / size, size) for name, size in SIZES.items()}
DELTA = 1e-4


def noise_of(terms=POOLED, **changes):
    question = {"epsilon": 1.0, "delta": DELTA, "steps": 20, "dimension": 14, "fewest": 4}
    return shared_noise(terms, **(question | changes))


def cost(event, delta=DELTA):
    return epsilon([event], delta)


# Calibration


@settings(max_examples=30, deadline=None)
@given(
    target=st.floats(0.05, 12),
    delta=st.sampled_from([1e-4, 1e-5, 1e-7]),
    steps=st.integers(1, 500),
    rate=st.sampled_from([1.0, 1.0, 0.2]),
    fewest=st.integers(2, 4),
    dimension=st.sampled_from([1, 14, 5000]),
    norms=st.lists(st.floats(1e-4, 10), min_size=4, max_size=4),
)
def test_every_site_is_within_the_budget_and_one_spends_it(
    target, delta, steps, rate, fewest, dimension, norms
):
    terms = {str(i): Terms(norm, 20 + i, rate) for i, norm in enumerate(norms)}
    noise = noise_of(
        terms, epsilon=target, delta=delta, steps=steps, fewest=fewest, dimension=dimension
    )
    costs = [cost(noise.together(name), delta) for name in terms]
    assert 0.98 * target <= max(costs) <= target
    assert costs[norms.index(max(norms))] == max(costs)
    assert noise.grid.log2_wrap_chance(4 * noise.variance, steps) <= LOG2_WRAP_CHANCE
    for name in terms:
        assert cost(noise.alone(name), delta) >= cost(noise.together(name), delta)
    assert noise.together("0").counted_variance == (fewest - 1) * noise.variance
    assert noise.together("0").steps == steps


def test_more_is_asked_for_more():
    """Of one share, in real units: what each change does to it."""

    def share(**changes):
        return noise_of(**changes).total_variance(1)

    plain = share()
    assert share(epsilon=0.5) > plain > share(epsilon=2.0)
    assert share(steps=40) == pytest.approx(2 * plain, rel=1e-3)
    assert share(colluders=2) == pytest.approx(1.5 * plain, rel=1e-3)
    assert share(fewest=3) == pytest.approx(1.5 * plain, rel=1e-3)
    assert share(colluders=0) == pytest.approx(0.75 * plain, rel=1e-3)
    assert share(delta=1e-5) > plain
    double = {name: replace(each, norm=2 * each.norm) for name, each in POOLED.items()}
    assert share(terms=double) == pytest.approx(4 * plain, rel=1e-3)


def test_sampling_needs_less():
    sampled = {name: replace(each, sampling_rate=0.1) for name, each in POOLED.items()}
    assert noise_of(sampled).total_variance(1) < noise_of().total_variance(1) / 10


def test_sites_of_different_rates_are_all_within_the_budget():
    """The largest sensitivity need not be the dearest."""
    terms = {"rare": Terms(1.0, 10, 0.01), "all": Terms(0.5, 10), "few": Terms(0.1, 10, 0.5)}
    noise = noise_of(terms, fewest=3)
    costs = {name: cost(noise.together(name)) for name in terms}
    assert max(costs, key=costs.get) == "all"
    assert 0.98 <= costs["all"] <= 1


def test_noise_is_a_gaussians_by_rdp():
    """Against dp_accounting's exact Gaussian: RDP costs 11 % at ε = 1, 15 % at 0.1."""
    for target, overhead in ((1.0, 1.114), (0.1, 1.151)):
        noise = noise_of(epsilon=target).together("cleveland").noise_multiplier
        exact = get_epsilon_gaussian(noise / math.sqrt(20), DELTA)
        assert target / exact == pytest.approx(overhead, abs=0.02)
        assert exact < target


# The design's figures


def test_noise_set_for_the_largest_site_leaves_the_smallest_with_nine():
    """Equal site weights: C/199 against C/30. 9.3 for a Gaussian by PLD; by RDP more."""
    only = {"cleveland": EQUAL["cleveland"]}
    three_more = only | {str(i): only["cleveland"] for i in range(3)}
    noise = noise_of(three_more)
    said = cost(noise.together("cleveland"))
    small = replace(noise, terms=EQUAL)
    assert said == pytest.approx(1, abs=0.02)
    assert cost(small.together("long_beach")) > 8.4
    exact = get_sigma_gaussian(1.0, DELTA)
    assert get_epsilon_gaussian(exact * 30 / 199, DELTA) == pytest.approx(9.3, abs=0.05)

    right = noise_of(EQUAL)
    costs = {name: cost(right.together(name)) for name in EQUAL}
    assert costs["long_beach"] == max(costs.values()) <= 1
    assert costs["cleveland"] < 0.13


@pytest.mark.parametrize(("present", "of", "said"), [(2, 4, 1.48), (2, 3, 1.26)])
def test_fewer_shares_than_the_noise_was_set_for(present, of, said):
    exact = get_sigma_gaussian(1.0, DELTA)
    assert get_epsilon_gaussian(exact * math.sqrt(present / of), DELTA) == pytest.approx(
        said, abs=5e-3
    )
    noise = noise_of(colluders=4 - of)
    fewer = replace(noise, honest=present)
    assert cost(noise.together("cleveland")) <= 1
    assert said - 0.06 < cost(fewer.together("cleveland")) < said * 1.12


def test_an_own_share_alone_costs_more_and_is_told():
    noise = noise_of(epsilon=0.1)
    assert cost(noise.together("cleveland")) <= 0.1
    assert cost(noise.alone("cleveland")) == pytest.approx(0.185, abs=0.002)


# The grid


def test_32_bits_cost_nothing_and_16_bits_what_they_say():
    assert noise_of().rounding_cost < 1e-4
    clients = {str(i): Terms(0.1, 1) for i in range(10)}
    question = {"epsilon": 8.0, "delta": 1e-5, "steps": 100, "fewest": 8}
    small = noise_of(clients, bits=16, dimension=1000, **question)
    assert small.grid.bits == 16
    assert 0.001 < small.rounding_cost < 0.01
    plain = noise_of(clients, dimension=1000, **question)
    raised = small.total_variance(1) / plain.total_variance(1)
    assert math.sqrt(raised) - 1 == pytest.approx(small.rounding_cost, abs=0.001)
    with pytest.raises(ConfigurationError, match=r"costs 1\d\d % more noise, over 5 %: take 32"):
        noise_of(clients, bits=16, dimension=10**6, **question)


def test_the_designs_million_parameters_do_not_fit_16_bits():
    """40 % more sensitivity at ε = 8, T = 100; with the tails of 2**-40 it is more."""
    clients = {str(i): Terms(0.1, 1) for i in range(4)}
    with pytest.raises(ConfigurationError, match=r"costs [4-7]\d\.\d % more noise"):
        noise_of(clients, epsilon=8.0, delta=1e-5, steps=100, dimension=10**6, colluders=0, bits=16)
    whole = noise_of(clients, epsilon=8.0, delta=1e-5, steps=100, dimension=10**6, colluders=0)
    assert whole.rounding_cost < 1e-3


@pytest.mark.parametrize("target", [0.1, 1.0])
def test_the_grid_is_the_finest(target):
    """On one of half the spacing the sum wraps: for the noise at 0.1, for the vectors at 1."""
    noise = noise_of(epsilon=target)
    finer = {"spacing": noise.grid.spacing / 2, "largest": 2 * noise.grid.largest - 2 * 199}
    if target == 0.1:
        half = replace(noise.grid, **finer)
        assert half.log2_wrap_chance(4 * 4 * noise.variance, 20) > LOG2_WRAP_CHANCE
    else:
        with pytest.raises(ConfigurationError, match="do not fit 32 bits"):
            replace(noise.grid, **finer)


def test_a_sum_that_fits_no_grid_is_refused():
    crowd = {str(i): Terms(1.0, 10**6) for i in range(3)}
    with pytest.raises(ConfigurationError, match="do not fit 16 bits on any grid: take 32 bits"):
        noise_of(crowd, fewest=3, bits=16)
    with pytest.raises(ConfigurationError, match=r"32 bits.*declare fewer units"):
        noise_of({name: Terms(1.0, 10**9) for name in crowd}, fewest=3)


def test_a_whole_step_has_the_noise_that_is_said():
    """Four sites' vectors, rounded, noised and summed: the error's law, and what dropouts do.

    Fixed seeds; five standard errors of a variance, and of the share beyond three deviations, over
    2 × 10⁵ coordinates. Shares are so large on this grid that their sum's tail is a normal one's.
    """
    d = 200_000
    terms = {name: Terms(1.0, 5) for name in "abcd"}
    noise = noise_of(terms, dimension=d)
    truth, sums = torch.zeros(d, dtype=torch.float64), {}
    for name in terms:
        vectors = torch.randn(5, d, generator=torch.Generator().manual_seed(ord(name)))
        vectors = vectors / math.sqrt(d) / 2  # of norm 1/2: nothing is clipped
        rounded = noise.grid.rounded(vectors, 1.0, seeded(site=name, purpose="rounding"))
        total = noise.grid.clamped(rounded.sum(0))
        total = total + skellam(seeded(site=name), noise.variance, d)
        sums[name] = noise.grid.residues(total), vectors.double().sum(0)
    for present in ("abcd", "abc", "bd"):
        total = sum(sums[name][0].astype("uint64") for name in present).astype("uint32")
        truth = sum(sums[name][1] for name in present)
        error = noise.grid.values(total) - truth
        wanted = noise.total_variance(len(present))
        assert abs(float(error.square().mean()) / wanted - 1) < 5 * math.sqrt(2 / d)
        assert abs(float(error.mean())) < 5 * math.sqrt(wanted / d)
        beyond = float((error.abs() > 3 * math.sqrt(wanted)).double().mean())
        tail = 2 * norm.sf(3)
        assert abs(beyond - tail) < 5 * math.sqrt(tail * (1 - tail) / d)


# What cannot be


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fewest": 1}, "fewest=1 of 4 sites less colluders=1"),
        ({"fewest": 5}, "fewest=5 of 4 sites"),
        ({"colluders": 4}, "colluders=4 must leave a share"),
        ({"colluders": -1}, "colluders=-1"),
        ({"epsilon": 0.0}, "privacy.epsilon=0.0"),
        ({"epsilon": math.nan}, "privacy.epsilon=nan"),
        ({"epsilon": math.inf}, "privacy.epsilon=inf"),
        ({"epsilon": 1e-9, "delta": 1e-14}, "privacy.epsilon=1e-09 at .* below what can be"),
        ({"delta": 0.0}, "privacy.delta=0.0"),
        ({"delta": 1.0}, "privacy.delta=1.0"),
        ({"steps": 0}, "steps=0"),
        ({"dimension": 0}, "dimension=0"),
        ({"bits": 8}, "bits=8"),
        ({"terms": {}}, "none are named"),
    ],
)
def test_questions_out_of_range(changes, words):
    with pytest.raises(ConfigurationError, match=words):
        noise_of(**changes)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ((0.0, 1), "norm=0.0"),
        ((math.nan, 1), "norm=nan"),
        ((math.inf, 1), "norm=inf"),
        ((1.0, 0), "most_units=0"),
        ((1.0, 1, 0.0), "sampling_rate=0.0"),
        ((1.0, 1, 1.1), "sampling_rate=1.1"),
    ],
)
def test_terms_out_of_range(terms, words):
    with pytest.raises(ConfigurationError, match=words):
        Terms(*terms)


def test_unit_and_relation_are_told():
    noise = noise_of(unit=Unit.CLIENT, relation=Relation.REPLACE_WITH_ZERO)
    event = noise.together("cleveland")
    assert (event.unit, event.relation) == (Unit.CLIENT, Relation.REPLACE_WITH_ZERO)
    assert event.dimension == 14
