"""Faults planted in the private step: each is found by the check that is there to find it."""

import pytest
import torch
from private_step import (
    STEP,
    WIDE,
    check_is_the_sum_by_hand,
    check_noise_is_independent_with_deviation_sigma_c,
    check_one_example_moves_the_sum_by_at_most_c,
    check_the_divisor_is_public,
    joined,
    make,
)

from tacit.domains.domain import Examples
from tacit.learning import local
from tacit.learning.per_example import PerExampleGradients


def broken_sum(factors_of):
    """`clipped_sum` with a scale for each example and parameter of the tester's choice."""

    def faulty(model, features, targets, clip, compute):
        with PerExampleGradients(model) as per_example:
            gradients = per_example(features, targets)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients])
        factors = factors_of(norms, clip)
        return [
            torch.einsum("n,n...->...", factor, g)
            for factor, g in zip(factors, gradients, strict=True)
        ]

    return faulty


def clipped_by_layer(norms, clip):
    return clip / norms.clamp(min=clip)


def not_clipped(norms, clip):
    return torch.ones_like(norms)


def clipped_by_largest_entry(norms, clip):
    return (clip / norms.amax(0).clamp(min=clip)).expand_as(norms)


def clipped_together(norms, clip):
    return (clip / norms.square().sum(0).sqrt().clamp(min=clip)).expand_as(norms)


@pytest.mark.parametrize("fault", [clipped_by_layer, not_clipped, clipped_by_largest_entry])
def test_wrong_clipping_is_found(monkeypatch, fault):
    model, data = make("mlp", 4, scale=30.0)
    monkeypatch.setattr(local, "clipped_sum", broken_sum(fault))
    with pytest.raises(AssertionError, match="moves the sum"):
        check_one_example_moves_the_sum_by_at_most_c(model, data, 0.1)
    with pytest.raises(AssertionError):
        check_is_the_sum_by_hand(model, data, 0.1)


def test_the_planted_sum_without_a_fault_passes(monkeypatch):
    """What the test above sees is the fault and not the way it is planted."""
    model, data = make("mlp", 4, scale=30.0)
    monkeypatch.setattr(local, "clipped_sum", broken_sum(clipped_together))
    check_one_example_moves_the_sum_by_at_most_c(model, data, 0.1)
    check_is_the_sum_by_hand(model, data, 0.1)


def test_clipping_the_mean_of_a_batch_is_found(monkeypatch):
    """Two opposite gradients, the first three times as long: it turns the sum around."""
    model, _ = make("linear", 2)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    row = torch.tensor([30.0, 10.0, -20.0, 40.0])
    data = Examples(torch.stack([-3 * row, row]), torch.tensor([0, 0]))
    honest = local.clipped_sum

    def clipped_after_the_sum(model, features, targets, clip, compute):
        sums = honest(model, features, targets, 1e9, compute)
        return [total * clip / joined(sums).norm().clamp(min=clip).float() for total in sums]

    monkeypatch.setattr(local, "clipped_sum", clipped_after_the_sum)
    with pytest.raises(AssertionError, match="moves the sum"):
        check_one_example_moves_the_sum_by_at_most_c(model, data, 0.1)


def noise_reused(sums, noise, deviation):
    """Every parameter gets the beginning of the same numbers."""
    drawn = noise.normals(max(total.numel() for total in sums))
    for total in sums:
        total.add_(drawn[: total.numel()].view(total.shape), alpha=deviation)


def noise_forgotten_in_the_last_layer(sums, noise, deviation):
    for total in sums[:-1]:
        total.add_(noise.normals(total.numel()).view(total.shape), alpha=deviation)


def noise_of_sigma_alone(sums, noise, deviation):
    for total in sums:
        drawn = noise.normals(total.numel()).view(total.shape)
        total.add_(drawn, alpha=deviation / STEP.clipping_norm)


def noise_a_tenth_short(sums, noise, deviation):
    for total in sums:
        total.add_(noise.normals(total.numel()).view(total.shape), alpha=0.9 * deviation)


def noise_one_number_a_parameter(sums, noise, deviation):
    for total in sums:
        total.add_(noise.normals(1).item() * deviation)


def no_noise(sums, noise, deviation):
    pass


@pytest.mark.parametrize(
    "fault",
    [
        noise_reused,
        noise_forgotten_in_the_last_layer,
        noise_of_sigma_alone,
        noise_a_tenth_short,
        noise_one_number_a_parameter,
        no_noise,
    ],
)
def test_wrong_noise_is_found(monkeypatch, fault):
    monkeypatch.setattr(local, "_add_noise", fault)
    with pytest.raises(AssertionError):
        check_noise_is_independent_with_deviation_sigma_c(WIDE)


def test_dividing_by_the_batch_that_came_about_is_found(monkeypatch):
    honest = local.clipped_sum

    def mean_instead(model, features, targets, *more):
        sums = honest(model, features, targets, *more)
        return [total * (STEP.divisor / max(len(features), 1)) for total in sums]

    monkeypatch.setattr(local, "clipped_sum", mean_instead)
    with pytest.raises(AssertionError):
        check_the_divisor_is_public(*make("mlp", 8))


def test_skipping_an_empty_batch_is_found(monkeypatch):
    """A step without noise when nobody was drawn tells that nobody was drawn."""
    honest = local._add_noise
    monkeypatch.setattr(
        local,
        "_add_noise",
        lambda sums, noise, deviation: honest(sums, noise, deviation * bool(joined(sums).any())),
    )
    with pytest.raises(AssertionError):
        check_noise_is_independent_with_deviation_sigma_c(WIDE)
