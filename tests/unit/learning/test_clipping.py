"""A clipping norm that follows updates: what the count costs, and where C goes."""

import math

import numpy as np
import pytest
import torch
from flwr.serverapp.strategy import DifferentialPrivacyServerSideAdaptiveClipping, FedAvg
from hypothesis import given
from hypothesis import strategies as st

from tacit.learning import parts
from tacit.learning.clipping import RATE, count_weight, next_factor
from tacit.learning.parts import update_part
from tacit.learning.plan import Part, RoundPlan
from tacit.privacy.events import Unit
from tacit.privacy.grid import finest_grid
from tacit.privacy.randomness import Stream

SIZE = 6
START = {"w": np.zeros((2, 2), np.float32), "b": np.zeros(2, np.float32)}
sigmas = st.floats(0.3, 30)
clients = st.integers(2, 1000)


def plan(kappa=0.5, factor=1.0, clip=2.0):
    whole = math.hypot(1.0, kappa / 2)
    grid = finest_grid(32, SIZE + bool(kappa), 10, whole)
    part = Part(32, grid.spacing, grid.dimension, 10, grid.largest, 1.0)
    return RoundPlan(
        1,
        1.0,
        1.0,
        0.1,
        clip,
        1.5,
        Unit.CLIENT,
        part=part,
        clip_factor=factor,
        count_weight=kappa,
    )


def sent(update, plan, seed=0):
    """A client's part as real numbers, in units of C."""
    values = np.asarray(update, np.float32)
    weights = {"w": values[:4].reshape(2, 2), "b": values[4:]}
    rounding, noise = (Stream.seeded(seed, "a", 1, word) for word in ("rounding", "noise"))
    residues = update_part(weights, START, plan, plan.part, rounding=rounding, noise=noise)
    return plan.part.grid().values(residues).numpy()


@given(sigmas, clients)
def test_noise_on_update_and_count_is_that_of_theorem_1(sigma, number):
    """Andrew et al. 2021, theorem 1: z_Δ^-2 + (2 σ_b)^-2 = σ^-2."""
    kappa = count_weight(sigma, number)
    on_update = sigma * math.hypot(1.0, kappa / 2)
    on_count = on_update / kappa
    assert on_update**-2 + (2 * on_count) ** -2 == pytest.approx(sigma**-2)
    assert on_count == pytest.approx(max(number / 20, 2 * sigma))
    assert on_update <= 1.033 * sigma


@pytest.mark.parametrize(("sigma", "number"), [(1.0, 100), (0.5, 60), (2.0, 1000)])
def test_flower_gives_the_update_the_same_noise(sigma, number):
    theirs = DifferentialPrivacyServerSideAdaptiveClipping(FedAvg(), sigma, number)
    kappa = count_weight(sigma, number)
    assert sigma * math.hypot(1.0, kappa / 2) == pytest.approx(theirs.noise_multiplier)


@given(st.lists(st.floats(-100, 100, width=32), min_size=SIZE, max_size=SIZE), st.floats(0.1, 10))
def test_update_and_count_together_are_no_longer_than_is_accounted(update, factor):
    each = plan(factor=factor)
    part = sent(update, each)
    spacing = each.part.spacing
    assert np.linalg.norm(part) <= each.part.grid().l2_sensitivity(each.unit_norm) * spacing
    clipped = np.linalg.norm(np.asarray(update, np.float32).astype(np.float64)) > each.clip
    assert part[-1] == pytest.approx(-0.25 if clipped else 0.25, abs=spacing)


def test_the_part_is_the_update_in_units_of_c():
    part = sent([0.5, -0.25, 0, 0, 1.0, 0], plan(factor=2.0, clip=1.0))
    assert part[:-1] == pytest.approx([0.25, -0.125, 0, 0, 0.5, 0], abs=1e-8)


def test_an_update_that_is_not_finite_counts_as_none():
    part = sent([math.nan, math.inf, 1.0, 0, 0, 0], plan(clip=4.0))
    assert part[:-1] == pytest.approx([0, 0, 0.25, 0, 0, 0], abs=1e-8)


def test_c_goes_to_the_quantile_and_stays_there():
    norms = np.exp(np.random.default_rng(0).normal(size=1001))
    factor = 0.01
    for _ in range(200):
        factor = next_factor(factor, float((norms <= factor).mean()), 0.7)
    wanted = np.quantile(norms, 0.7)
    assert factor == pytest.approx(wanted, rel=0.02)


@given(st.floats(-1e6, 1e6), st.floats(0.01, 0.99))
def test_noise_moves_c_by_no_more_than_e_in_a_round(below, quantile):
    assert math.exp(-1) * 0.99 < next_factor(1.0, below, quantile) < math.e * 1.01


def test_a_count_at_the_quantile_leaves_c():
    assert next_factor(1.25, 0.5, 0.5) == 1.25
    assert next_factor(1.0, 1.0, 0.5) == pytest.approx(math.exp(-RATE / 2), rel=1e-5)


def test_planted_a_count_beside_the_norm_that_is_not_clipped_is_found(monkeypatch):
    monkeypatch.setattr(parts, "clipped", lambda rows, norm: rows)
    monkeypatch.setattr(
        "tacit.privacy.grid.Grid.rounded",
        lambda self, rows, norm, coins: torch.round(rows / self.spacing).long(),
    )
    with pytest.raises(AssertionError):
        test_update_and_count_together_are_no_longer_than_is_accounted()
