"""FedProx at a site: against its own loss by autograd, and after the noise."""

from dataclasses import replace

import pytest
import torch
from private_step import EMPTY, STEP, Recorder, joined, make, stream, trained, weights_of
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning import local

MU = 0.7
PLAIN = replace(STEP, steps=4, clipping_norm=None, noise_multiplier=None)


def by_its_own_loss(model, data, plan):
    """Steps on sum of losses / divisor + μ/2 ‖w - w₀‖² (Li et al. 2020, eq. 2) in float64."""
    moved, _ = make("mlp", len(data))
    moved.load_state_dict(model.state_dict())
    moved.double()
    weights = list(moved.parameters())
    first = [p.detach().clone() for p in weights]
    for _ in range(plan.steps):
        losses = nn.functional.cross_entropy(
            moved(data.features.double()), data.targets, reduction="sum"
        )
        away = sum((p - o).square().sum() for p, o in zip(weights, first, strict=True))
        loss = losses / plan.divisor + plan.proximal_mu / 2 * away
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for p, gradient in zip(weights, gradients, strict=True):
                p -= plan.learning_rate * gradient
    return weights_of(moved) - joined(first)


def test_steps_follow_the_loss_with_its_proximal_term():
    model, data = make("mlp", 9)
    plan = replace(PLAIN, proximal_mu=MU)
    # Four steps in fp32 on weights and gradients of about 1.
    torch.testing.assert_close(
        trained(model, data, plan), by_its_own_loss(model, data, plan), rtol=1e-5, atol=1e-6
    )
    assert (trained(model, data, plan) - trained(model, data, PLAIN)).norm() > 0.01


@pytest.mark.parametrize("plan", [PLAIN, replace(STEP, steps=4)], ids=["plain", "private"])
def test_with_one_step_or_no_mu_it_does_nothing(plan):
    model, data = make("mlp", 9)
    one = replace(plan, steps=1)
    assert torch.equal(
        trained(model, data, replace(one, proximal_mu=MU)), trained(model, data, one)
    )
    zero = replace(plan, proximal_mu=0.0)
    assert torch.equal(trained(model, data, zero), trained(model, data, plan))


def noise_alone(model, plan):
    """Where noise takes the weights when no record is there to move them, and that noise."""
    noise = Recorder(stream("noise"))
    return trained(model, EMPTY, plan, noise=noise), noise.normals_drawn


def check_the_pull_comes_after_the_noise(model):
    """Without records: d ← (1 - ημ)d - η/divisor · σC · noise, d starting at 0.

    The pull is neither clipped nor noised, and each step adds noise of its own, in full.
    """
    plan = replace(STEP, steps=3, proximal_mu=MU)
    moved, drawn = noise_alone(model, plan)
    assert len(drawn) == 3
    expected = torch.zeros_like(moved)
    rate = plan.learning_rate / plan.divisor
    for normals in drawn:
        noise = plan.noise_multiplier * plan.clipping_norm * normals.double()
        expected = (1 - plan.learning_rate * MU) * expected - rate * noise
    # Weights near 1 in fp32, three roundings of each.
    torch.testing.assert_close(moved, expected, rtol=0, atol=3 * 2.0**-23)


def test_the_pull_comes_after_the_noise():
    check_the_pull_comes_after_the_noise(make("linear", 1)[0])


def test_a_pull_within_the_clipping_is_found(monkeypatch):
    """Planted: the proximal gradient added to the sum before the noise, clipped to C with it."""
    model, _ = make("linear", 1)
    honest, first = local.clipped_sum, {}

    def with_pull(moving, features, targets, clip, *more):
        sums = honest(moving, features, targets, clip, *more)
        start = first.setdefault(id(moving), [p.detach().clone() for p in moving.parameters()])
        pairs = zip(moving.parameters(), start, strict=True)
        pull = [STEP.divisor * MU * (p - o).detach() for p, o in pairs]
        norm = joined(pull).norm().clamp(min=clip).float()
        return [s + clip / norm * g for s, g in zip(sums, pull, strict=True)]

    monkeypatch.setattr(torch.Tensor, "lerp_", lambda parameter, *_: parameter)
    monkeypatch.setattr(local, "clipped_sum", with_pull)
    with pytest.raises(AssertionError):
        check_the_pull_comes_after_the_noise(model)


def test_one_record_moves_no_sum_further_for_it(monkeypatch):
    """What is noised is the clipped sum alone: the same at the same weights, with μ or without."""
    model, data = make("mlp", 9)
    asked, honest = [], local.clipped_sum

    def noted(moving, *arguments):
        sums = honest(moving, *arguments)
        asked.append((weights_of(moving).clone(), joined(sums)))
        return sums

    monkeypatch.setattr(local, "clipped_sum", noted)
    trained(model, data, replace(STEP, steps=3, proximal_mu=MU))
    for weights, found in asked:
        there = make("mlp", 9)[0]
        nn.utils.vector_to_parameters(weights.float(), there.parameters())
        sums = honest(there, data.features, data.targets, STEP.clipping_norm, local.Compute("cpu"))
        torch.testing.assert_close(joined(sums), found, rtol=1e-6, atol=1e-6)
        one = Examples(data.features[:1], data.targets[:1])
        single = honest(there, one.features, one.targets, STEP.clipping_norm, local.Compute("cpu"))
        assert joined(single).norm() <= STEP.clipping_norm * (1 + 1e-6)
