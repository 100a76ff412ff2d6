"""Memory and precision change nothing of a private step but rounding."""

from dataclasses import replace

import pytest
import torch
from private_step import (
    CLIPS,
    CPU,
    MODELS,
    STEP,
    check_is_the_sum_by_hand,
    joined,
    make,
    stream,
    sum_by_hand,
    summed,
)
from torch import nn

from tacit.learning import local
from tacit.learning.per_example import PerExampleGradients


@CLIPS
@pytest.mark.parametrize("microbatch", [1, 3, 9, 100])
@MODELS
def test_microbatches_give_the_same_sum(name, microbatch, clip):
    check_is_the_sum_by_hand(*make(name, 9), clip, replace(CPU, microbatch=microbatch))


def out_of_memory_above(most, monkeypatch):
    """A device that has room for `most` examples; returns the sizes that were tried."""
    tried = []
    honest = PerExampleGradients.__call__

    def limited(self, features, targets):
        tried.append(len(features))
        if len(features) > most:
            raise torch.cuda.OutOfMemoryError("made up")
        return honest(self, features, targets)

    monkeypatch.setattr(PerExampleGradients, "__call__", limited)
    return tried


@pytest.mark.parametrize(
    ("most", "sizes"), [(9, [9]), (5, [9, 5, 4]), (4, [9, 5, 3, 3, 3]), (1, [9, 5, 3, 2] + [1] * 9)]
)
def test_microbatches_are_halved_when_a_gpu_is_full(monkeypatch, most, sizes):
    tried = out_of_memory_above(most, monkeypatch)
    check_is_the_sum_by_hand(*make("mlp", 9), 0.7)
    assert tried == sizes


def test_memory_may_run_out_when_some_parts_are_done(monkeypatch):
    """What was summed before stays, and is not summed again."""
    honest, tried = PerExampleGradients.__call__, []

    def full_once(self, features, targets):
        tried.append(len(features))
        if len(tried) == 3:
            raise torch.cuda.OutOfMemoryError("made up")
        return honest(self, features, targets)

    monkeypatch.setattr(PerExampleGradients, "__call__", full_once)
    check_is_the_sum_by_hand(*make("mlp", 9), 1.4, replace(CPU, microbatch=3))
    assert tried == [3, 3, 3, 2, 1]


def test_one_example_that_does_not_fit_is_an_error(monkeypatch):
    out_of_memory_above(0, monkeypatch)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        summed(*make("mlp", 9), 0.7)


@pytest.mark.parametrize("register", ["forward_pre_hook", "full_backward_pre_hook"])
def test_memory_may_run_out_in_the_middle_of_a_pass(register):
    model, data = make("mlp", 9)
    expected = sum_by_hand(model, data, 0.7)
    fits = [False]

    def full(*_):
        if not fits[0]:
            fits[0] = True
            raise torch.cuda.OutOfMemoryError("made up")

    getattr(model[2], f"register_{register}")(full)
    assert (summed(model, data, 0.7) - expected).norm() < 9 * 0.7 * 1e-5
    assert fits[0]


@CLIPS
@MODELS
def test_a_loss_scale_divides_out_to_the_bit(name, clip):
    model, data = make(name, 9)
    scaled = summed(model, data, clip, replace(CPU, loss_scale=1024.0))
    assert torch.equal(scaled, summed(model, data, clip))


@MODELS
def test_bf16_is_close_to_fp32(name):
    model, data = make(name, 9)
    exact = summed(model, data, 0.7)
    rough = local.clipped_sum(
        model, data.features, data.targets, 0.7, replace(CPU, precision=torch.bfloat16)
    )
    assert all(total.dtype == torch.float32 for total in rough)
    # bf16 keeps 8 bits, about ten operations deep, on nine gradients of norm 0.7 at most.
    assert 0 < (joined(rough) - exact).norm() <= 9 * 0.7 * 10 * 2.0**-8


def test_the_sum_is_fp32_and_zero_for_an_empty_batch():
    model, data = make("conv", 9)
    sums = local.clipped_sum(model, data.features[:0], data.targets[:0], 0.7, CPU)
    assert [total.shape for total in sums] == [p.shape for p in model.parameters()]
    assert all(total.dtype == torch.float32 and (total == 0).all() for total in sums)


def test_the_model_is_usable_by_plain_torch_afterwards():
    model, data = make("mlp", 5)
    local.train_round(
        model,
        data,
        STEP,
        coins=stream("coins"),
        noise=stream("noise"),
        layers=stream("layers"),
        compute=CPU,
    )
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in model.modules())
    assert all(p.grad is None and vars(p) == {} for p in model.parameters())
    loss = nn.functional.cross_entropy(model(data.features), data.targets)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, list(model.parameters())))
