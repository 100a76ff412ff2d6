"""The private step: against plain autograd and Opacus's optimiser, as properties, and broken."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from private_step import (
    CLIPS,
    CPU,
    MODELS,
    STEP,
    WIDE,
    Recorder,
    check_is_the_sum_by_hand,
    check_noise_is_independent_with_deviation_sigma_c,
    check_one_example_moves_the_sum_by_at_most_c,
    check_the_divisor_is_public,
    joined,
    make,
    stream,
    sum_by_hand,
    summed,
    trained,
    weights_of,
)
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning import local, per_example

SCALES = (1e-3, 1.0, 30.0, 1e6)


def models_of(names, scales):
    return st.tuples(
        st.sampled_from(names), st.integers(1, 6), st.integers(0, 1000), st.sampled_from(scales)
    )


# Where 1 - tanh² is all rounding, an example's gradient changes with who else is in the batch.
models = models_of(("mlp",), SCALES[:3]) | models_of(("linear",), SCALES)
clips = st.sampled_from((1e-4, 0.1, 1.0, 50.0))


# Independent implementations


@CLIPS
@MODELS
def test_the_sum_is_that_of_a_loop_over_examples(name, clip):
    check_is_the_sum_by_hand(*make(name, 9), clip)


@MODELS
def test_some_examples_are_clipped_and_some_are_not(name):
    """The clip between tight and loose is what it says, so that the test above sees both."""
    model, data = make(name, 9)
    norms = [
        sum_by_hand(model, Examples(x[None], y[None]), 1e9).norm()
        for x, y in zip(data.features, data.targets, strict=True)
    ]
    assert 0.1 < min(norms) < 1.4 < max(norms) < 1e3


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@CLIPS
@MODELS
def test_the_sum_is_that_of_opacus_optimiser(name, clip):
    model, data = make(name, 9)
    wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="sum")
    optimiser = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=clip,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    nn.functional.cross_entropy(wrapped(data.features), data.targets, reduction="sum").backward()
    optimiser.clip_and_accumulate()
    expected = joined(p.summed_grad for p in wrapped.parameters())
    # Opacus divides by norm + 1e-6; norms are above 0.1, as the test before shows.
    assert (summed(model, data, clip) - expected).norm() <= 9 * clip * (1e-6 / 0.1 + 1e-5)


def test_without_privacy_it_is_gradient_descent_on_the_mean_loss():
    model, data = make("mlp", 12)
    plan = replace(STEP, steps=5, divisor=12.0, clipping_norm=None, noise_multiplier=None)
    by_hand = copy.deepcopy(model)
    optimiser = torch.optim.SGD(by_hand.parameters(), lr=plan.learning_rate)
    for _ in range(plan.steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(by_hand(data.features), data.targets).backward()
        optimiser.step()
    expected = weights_of(by_hand) - weights_of(model)
    for microbatch in (None, 5):
        compute = replace(CPU, microbatch=microbatch)
        # Five steps of fp32 on weights below 1: 5 * 2 * 2**-24.
        assert (trained(model, data, plan, compute=compute) - expected).abs().max() < 1e-6


def test_without_privacy_an_empty_batch_leaves_the_weights():
    model, data = make("mlp", 5)
    plan = replace(STEP, sampling_rate=1e-12, clipping_norm=None, noise_multiplier=None)
    assert (trained(model, data, plan) == 0).all()


# Properties


@settings(max_examples=40, deadline=None)
@given(models, clips)
def test_one_example_moves_the_sum_by_at_most_c(made, clip):
    name, n, seed, scale = made
    check_one_example_moves_the_sum_by_at_most_c(*make(name, n, seed, scale), clip)


@settings(max_examples=40, deadline=None)
@given(models_of(("mlp",), SCALES), clips)
def test_no_example_adds_more_than_c_however_it_is_rounded(made, clip):
    name, n, seed, scale = made
    model, data = make(name, n, seed, scale)
    for x, y in zip(data.features, data.targets, strict=True):
        assert summed(model, Examples(x[None], y[None]), clip).norm() <= clip * (1 + 1e-5)


@pytest.mark.parametrize("shape", [(1, 20_000_000), (1, 4000, 4096), (3, 7, 5)])
def test_a_norm_is_not_too_small_however_many_entries_there_are(shape):
    """A sum of 20 million squares in fp32 falls short, and would leave the gradient too long."""
    gradient = torch.full(shape, 0.1)
    parts = [gradient[:, :2], gradient[:, 2:]]
    # 0.1 is not exact in fp32; each of the sums of 2**14 squares is within 1e-5.
    expected = gradient[0].numel() ** 0.5 * gradient.flatten()[0].item()
    for norm in per_example.norms_of(parts).tolist():
        assert norm == pytest.approx(expected, rel=1e-5)


def test_the_bound_is_reached():
    """A bound that is never tight would pass with everything clipped to nothing."""
    model, data = make("mlp", 1)
    assert summed(model, data, 0.01).norm() == pytest.approx(0.01, rel=1e-5)


BAD_ROWS = {
    "nan": lambda x, y: x[1].fill_(float("nan")),
    "one nan": lambda x, y: x[1, 2].fill_(float("nan")),
    "inf": lambda x, y: x[1].fill_(float("inf")),
    "target below": lambda x, y: y[1].fill_(-1),
    "target above": lambda x, y: y[1].fill_(3),
    "exploding scores": lambda x, y: x[1].fill_(3e38),
}


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_an_unusable_row_contributes_nothing(bad):
    model, good = make("linear", 4)
    with torch.no_grad():
        model.weight.mul_(10)
    data = Examples(good.features.clone(), good.targets.clone())
    BAD_ROWS[bad](data.features, data.targets)
    found = summed(model, data, 0.5)
    others = torch.arange(4) != 1
    expected = summed(model, Examples(good.features[others], good.targets[others]), 0.5)
    assert torch.isfinite(found).all()
    assert (found - expected).abs().max() < 1e-6
    assert torch.isfinite(trained(model, data, STEP)).all()


def test_a_huge_row_moves_the_sum_by_at_most_c():
    """Its gradient is finite, but its square is not in fp32."""
    model, data = make("linear", 4)
    data.features[1].fill_(1e30)
    assert torch.isfinite(summed(model, data, 0.5)).all()
    check_one_example_moves_the_sum_by_at_most_c(model, data, 0.5)


def test_rows_that_are_all_unusable_leave_noise_alone():
    model, data = make("linear", 4)
    bad = Examples(torch.full_like(data.features, float("nan")), data.targets)
    empty = Examples(data.features[:0], data.targets[:0])
    assert torch.equal(trained(model, bad, STEP), trained(model, empty, STEP))


def test_an_empty_batch_steps_by_noise_alone():
    check_noise_is_independent_with_deviation_sigma_c(WIDE)


@pytest.mark.parametrize("rows", [0, 5])
def test_an_empty_batch_takes_its_noise_from_the_stream(rows):
    """No row at all, or rows of which none is drawn: the same step, to the bit."""
    model, data = make("mlp", 5)
    data = Examples(data.features[:rows], data.targets[:rows])
    coins, noise = Recorder(stream("coins")), Recorder(stream("noise"))
    plan = replace(STEP, sampling_rate=1e-12)
    moved = trained(model, data, plan, coins=coins, noise=noise)
    assert not coins.coins_drawn[0].any()
    expected = copy.deepcopy(model)
    parameters = list(expected.parameters())
    parts = (
        stream("noise").normals(weights_of(model).numel()).split([p.numel() for p in parameters])
    )
    with torch.no_grad():
        for p, part in zip(parameters, parts, strict=True):
            p.sub_(part.view_as(p) * (3.0 * 0.5) / 7.0, alpha=0.2)
    assert torch.equal(moved, weights_of(expected) - weights_of(model))


def test_the_divisor_does_not_follow_the_batch():
    check_the_divisor_is_public(*make("mlp", 8))


def test_the_rate_is_that_of_the_plan_and_what_is_drawn_is_what_is_summed(monkeypatch):
    model, data = make("linear", 50)
    coins, seen = Recorder(stream("coins")), []
    honest = local.clipped_sum

    def watched(model, features, targets, *more):
        seen.append((features, targets))
        return honest(model, features, targets, *more)

    monkeypatch.setattr(local, "clipped_sum", watched)
    plan = replace(STEP, steps=200, sampling_rate=0.3)
    trained(model, data, plan, coins=coins)
    for drawn, (features, targets) in zip(coins.coins_drawn, seen, strict=True):
        assert torch.equal(features, data.features[drawn])
        assert torch.equal(targets, data.targets[drawn])
    sizes = torch.tensor([len(features) for features, _ in seen]).double()
    # Poisson sampling: sizes are binomial, mean 15 and variance 10.5, over 200 steps.
    assert (sizes.mean() - 15).abs() < 5 * (10.5 / 200) ** 0.5
    assert (sizes.var() - 10.5).abs() < 5 * 10.5 * (2 / 199) ** 0.5


@pytest.mark.parametrize("rows", [0, 1, 20])
def test_steps_coins_and_noise_do_not_follow_the_data(rows):
    model, data = make("mlp", 20)
    data = Examples(data.features[:rows], data.targets[:rows])
    coins, noise, begun = Recorder(stream("coins")), Recorder(stream("noise")), []
    plan = replace(STEP, steps=6, sampling_rate=0.2)
    trained(model, data, plan, coins=coins, noise=noise, on_step=begun.append)
    assert begun == [1, 2, 3, 4, 5, 6]
    assert [len(drawn) for drawn in coins.coins_drawn] == [rows] * 6
    assert [len(drawn) for drawn in noise.normals_drawn] == [weights_of(model).numel()] * 6


def test_a_step_is_announced_before_it_touches_data():
    model, data = make("mlp", 5)
    coins = Recorder(stream("coins"))

    class StopError(Exception):
        pass

    def stop(begun):
        if begun == 3:
            raise StopError

    with pytest.raises(StopError):
        trained(model, data, replace(STEP, steps=6), coins=coins, on_step=stop)
    assert len(coins.coins_drawn) == 2


def test_the_same_streams_give_the_same_bits_and_others_do_not():
    model, data = make("mlp", 20)
    plan = replace(STEP, steps=4, sampling_rate=0.5)

    def run(**purposes):
        made = {purpose: stream(purpose, **how) for purpose, how in purposes.items()}
        return trained(model, data, plan, **made)

    first = run(coins={}, noise={})
    torch.manual_seed(99)  # nothing follows torch's own generator
    assert torch.equal(first, run(coins={}, noise={}))
    for other in ({"seed": 1}, {"round": 2}):
        assert not torch.equal(first, run(coins=other, noise={}))
        assert not torch.equal(first, run(coins={}, noise=other))


def test_frozen_weights_stay_and_take_no_noise():
    model, data = make("mlp", 6)
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    noise = Recorder(stream("noise"))
    local.train_round(
        model, data, STEP, coins=stream("coins"), noise=noise, layers=stream("layers"), compute=CPU
    )
    assert torch.equal(model[0].weight, before)
    assert [len(drawn) for drawn in noise.normals_drawn] == [6 * 3 + 3]
