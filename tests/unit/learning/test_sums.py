"""Parts of sums of what rounds add: no sum wraps, and few bits are for where they cost little."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from tacit.errors import ConfigurationError
from tacit.learning.parts import update_part
from tacit.learning.plan import LocalOptimizer, RoundPlan
from tacit.learning.sums import REACH, in_clients, in_updates
from tacit.privacy.calibration import noise_multiplier
from tacit.privacy.events import Unit
from tacit.privacy.randomness import Stream
from tacit.privacy_settings import ClientPrivacy

SIZES = {"east": 200, "north": 100, "south": 50, "west": 200}
PRIVATE = RoundPlan(
    steps=4,
    sampling_rate=0.25,
    divisor=50.0,
    learning_rate=0.5,
    clipping_norm=2.0,
    noise_multiplier=3.0,
)
PLAIN = replace(PRIVATE, clipping_norm=None, noise_multiplier=None)
DIMENSION = 6
START = {"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)}


def summed(plan=PRIVATE, sizes=SIZES, *, cohort=None, bits=32, dimension=DIMENSION):
    plans = dict.fromkeys(sizes, plan)
    return in_updates(plans, sizes, cohort or len(sizes), dimension, bits)


def sent(plan, change, seed=0):
    """A site's part after a round that changed every weight by so much."""
    weights = {name: np.full_like(array, change) for name, array in START.items()}
    rounding, noise = (Stream.seeded(seed, "a", 1, word) for word in ("rounding", "noise"))
    return update_part(weights, START, plan, plan.part, rounding=rounding, noise=noise)


def room(plan):
    return plan.part.largest * plan.part.spacing


def test_a_sites_weight_is_its_size_relative_to_the_largest():
    weights = {site: plan.part.weight for site, plan in summed().items()}
    assert weights == {"east": 1.0, "north": 0.5, "south": 0.25, "west": 1.0}


@pytest.mark.parametrize("bits", [16, 32])
def test_all_sum_on_one_grid_and_nothing_else_of_their_plans_changes(bits):
    plans = summed(bits=bits)
    assert len({plan.part.grid() for plan in plans.values()}) == 1
    for plan in plans.values():
        part = plan.part
        assert (part.bits, part.dimension, part.sites) == (bits, DIMENSION, 4)
        assert replace(plan, part=None) == PRIVATE
        assert plan.event() == PRIVATE.event()


@pytest.mark.parametrize("cohort", [1, 3, 4, 7, 32])
@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("change", [1e30, -1e30])
def test_the_worst_parts_of_all_sites_add_up_without_wrapping(cohort, bits, change):
    plans = list(summed(bits=bits, cohort=cohort).values())
    worst = [sent(plans[number % len(plans)], change, number) for number in range(cohort)]
    total = np.zeros_like(worst[0])
    for each in worst:
        total += each
    part = plans[0].part
    whole = math.copysign(cohort * room(plans[0]), change)
    assert part.grid().values(total).tolist() == [whole] * DIMENSION


@pytest.mark.parametrize("cohort", [1, 3, 7])
def test_on_a_finer_grid_the_worst_parts_would_not_fit(cohort):
    part = summed(cohort=cohort)["east"].part
    with pytest.raises(ConfigurationError, match="do not fit 32 bits"):
        replace(part, spacing=part.spacing / 2, largest=2 * part.largest).grid()


@pytest.mark.parametrize("plan", [PRIVATE, PLAIN, replace(PRIVATE, proximal_mu=1.0)])
def test_on_32_bits_a_weight_may_change_by_128_and_no_more(plan):
    east = summed(plan)["east"]
    values = east.part.grid().values
    assert values(sent(east, REACH)).tolist() == [128.0] * DIMENSION
    assert values(sent(east, -REACH)).tolist() == [-128.0] * DIMENSION
    assert values(sent(east, 10 * REACH)).tolist() == [128.0] * DIMENSION
    assert values(sent(east, -10 * REACH)).tolist() == [-128.0] * DIMENSION


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize(("declared", "batch"), [(50, 1), (200, 50), (10**6, 500), (4000, 3999)])
def test_what_16_bits_have_room_for_a_round_does_not_go_beyond(declared, batch, steps):
    """But for a chance of 1 in 10^15, by scipy's tails: of the rows of a step, and of the noise."""
    plan = replace(PRIVATE, steps=steps, sampling_rate=batch / declared, divisor=float(batch))
    (own,) = summed(plan, {"a": declared}, bits=16).values()
    reach = room(own) / plan.learning_rate
    noise = math.sqrt(steps) * plan.noise_multiplier * plan.clipping_norm / batch
    rows = (reach - 8 * noise) * batch / (steps * plan.clipping_norm)
    assert 2 * norm.sf(8) < 2e-15
    assert rows >= batch
    assert binom.sf(math.floor(rows), declared, batch / declared) < 1e-15


def test_where_all_rows_are_taken_there_is_room_for_no_more_than_those():
    plan = replace(PRIVATE, sampling_rate=1.0, divisor=200.0)
    (own,) = summed(plan, {"a": 200}, bits=16).values()
    noise = math.sqrt(4) * 3.0 * 2.0 / 200
    reach = 0.5 * (4 * 2.0 + 8 * noise)
    assert 0 <= room(own) - reach < own.part.spacing


def test_on_16_bits_what_there_is_room_for_arrives():
    for plan in summed(bits=16).values():
        found = plan.part.grid().values(sent(plan, 0.999 * room(plan) / plan.part.weight))
        assert found.numpy() == pytest.approx(0.999 * room(plan), abs=plan.part.spacing)


def test_on_16_bits_there_is_room_for_the_site_that_goes_farthest():
    """Half the weight, and ten times the step size."""
    (alone,) = summed(sizes={"east": 200}, bits=16).values()
    plans = {"east": PRIVATE, "north": replace(PRIVATE, learning_rate=5.0)}
    both = in_updates(plans, {"east": 200, "north": 100}, 2, DIMENSION, 16)
    assert both["north"].part.weight == 0.5
    assert room(both["east"]) == room(both["north"])
    assert room(both["east"]) == pytest.approx(5 * room(alone), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clipping_norm": None, "noise_multiplier": None}, "only known for SGD with"),
        ({"proximal_mu": 0.1}, "no proximal term"),
        ({"optimizer": LocalOptimizer.MOMENTUM}, "training.optimizer=momentum"),
        ({"optimizer": LocalOptimizer.ADAM}, "training.optimizer=adam"),
    ],
)
def test_where_nobody_knows_how_far_weights_move_16_bits_are_refused(changes, says):
    plan = replace(PRIVATE, **changes)
    with pytest.raises(ConfigurationError, match=r"privacy\.bits=16.*take 32 bits") as caught:
        summed(plan, bits=16)
    assert says in str(caught.value)
    assert summed(plan, bits=32)


EDGE = RoundPlan(1, 1.0, 100.0, 1.0, 1.0, 10.0)
"""A noise of 0.1 on a weight, and with 1000 sites on 16 bits a spacing of 0.0625."""


def test_16_bits_are_taken_while_rounding_raises_the_noise_by_less_than_5_percent():
    crowd = {str(number): 100 for number in range(1000)}
    part = summed(EDGE, crowd, bits=16)["0"].part
    assert part.spacing == 0.0625
    noise = np.random.default_rng(0).normal(0.0, 0.1, 200_000).astype(np.float32)
    grid = replace(part, dimension=len(noise))
    rounding, unused = (Stream.seeded(0, "a", 1, word) for word in ("rounding", "noise"))
    start = {"w": np.zeros_like(noise)}
    plan = replace(EDGE, part=grid)
    found = update_part({"w": noise}, start, plan, grid, rounding=rounding, noise=unused)
    raised = grid.grid().values(found).numpy().std() / 0.1
    # √(1 + 0.625² / 6), as fractions of a step are uniform; five standard errors of a deviation.
    assert raised == pytest.approx(math.sqrt(1 + 0.625**2 / 6), abs=5 / math.sqrt(2 * len(noise)))
    assert raised < math.sqrt(1 + 0.625**2 / 4) < 1.05


@pytest.mark.parametrize(
    ("plan", "sizes"),
    [
        (replace(EDGE, noise_multiplier=9.0), {str(number): 100 for number in range(1000)}),
        (EDGE, {str(number): 100 for number in range(1200)}),
        (replace(EDGE, noise_multiplier=0.01), {"a": 100, "b": 100}),
        (EDGE, {"large": 100_000, "small": 100}),
    ],
    ids=["less noise", "more sites", "hardly any noise", "a small weight"],
)
def test_16_bits_are_refused_where_rounding_costs_more(plan, sizes):
    with pytest.raises(ConfigurationError, match=r"over 5 %: take privacy\.bits=32"):
        summed(plan, sizes, bits=16)
    assert summed(plan, sizes, bits=32)


def of_clients(count, epsilon, *, dimension=18, **changes):
    """A client's plan where the coordinator noises one sum of all, and σ of that."""
    sigma = noise_multiplier(epsilon, 1e-4, 1.0, 1)
    privacy = ClientPrivacy("client_level", epsilon, 1e-4, 2.0, bits=16, **changes)
    plan = replace(PRIVATE, noise_multiplier=sigma, unit=Unit.CLIENT)
    plans = in_clients(
        {str(number): plan for number in range(count)},
        privacy,
        sigma=sigma,
        cohort=count,
        steps=1,
        rounds=1,
        fewest=count,
        dimension=dimension,
    )
    return plans["0"], sigma


@pytest.mark.parametrize("epsilon", [8.0, 16.0])
def test_the_rounding_of_all_clients_counts_and_not_only_what_it_adds_to_the_sensitivity(epsilon):
    """Of 300 it adds 3 % to the sensitivity, and more than 5 % to the error of the sum."""
    with pytest.raises(ConfigurationError, match=r"over 5 %: take privacy\.bits=32"):
        of_clients(300, epsilon)
    assert of_clients(10, epsilon)[0].part.bits == 16
    assert of_clients(300, 1.0)[0].part.bits == 16


@pytest.mark.parametrize("quantile", [None, 0.5])
def test_16_bits_raise_the_error_of_a_sum_of_clients_by_no_more_than_5_percent(quantile):
    """Every update lies half way between two steps of the grid: the worst there is for rounding."""
    found, sigma = of_clients(200, 16.0, dimension=64, clipping_quantile=quantile)
    grid = found.part.grid()
    half = torch.full((200, grid.dimension), grid.spacing / 2, dtype=torch.float64)
    errors = [
        grid.rounded(half, found.unit_norm, Stream.seeded(seed, "a", 1, "rounding")).sum(0) - 100
        for seed in range(100)
    ]
    rounding = torch.stack(errors).double().mul(grid.spacing).std().item()
    noise = sigma * grid.l2_sensitivity(found.unit_norm) * grid.spacing
    raised = math.hypot(noise, rounding) / (sigma * found.unit_norm)
    assert 1.02 < raised < 1.05
