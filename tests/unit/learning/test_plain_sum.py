"""Training without privacy goes by the same forward pass as private training."""

from dataclasses import replace

import pytest
import torch
from private_step import CPU, MODELS, joined, make
from torch import nn

from tacit.learning import local


def plain(model, data, compute=CPU):
    return joined(local.plain_sum(model, data.features, data.targets, compute))


def by_autograd(model, data):
    loss = nn.functional.cross_entropy(model(data.features), data.targets, reduction="sum")
    return joined(torch.autograd.grad(loss, list(model.parameters())))


@MODELS
@pytest.mark.parametrize("microbatch", [None, 4])
def test_it_is_the_gradient_of_the_summed_loss(name, microbatch):
    model, data = make(name, 9)
    found = plain(model, data, replace(CPU, microbatch=microbatch))
    torch.testing.assert_close(found, by_autograd(model, data), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spoiled", ["feature", "target"])
def test_an_unusable_row_counts_as_absent(spoiled):
    model, data = make("mlp", 9)
    without = by_autograd(
        model, replace(data, features=data.features[1:], targets=data.targets[1:])
    )
    if spoiled == "feature":
        data.features[0, 2] = torch.nan
    else:
        data.targets[0] = 17
    torch.testing.assert_close(plain(model, data), without, rtol=1e-5, atol=1e-5)


def test_precision_is_that_of_the_engine():
    model, data = make("mlp", 9)
    exact = plain(model, data)
    rough = plain(model, data, replace(CPU, precision=torch.bfloat16))
    assert rough.dtype == exact.dtype
    assert 0 < (rough - exact).norm() < 0.1 * exact.norm()


def test_a_loss_scale_divides_out_to_the_bit():
    model, data = make("mlp", 9)
    assert torch.equal(plain(model, data), plain(model, data, replace(CPU, loss_scale=1024.0)))


def test_passes_are_halved_until_they_fit(monkeypatch):
    model, data = make("mlp", 9)
    whole, sizes, honest = plain(model, data), [], local.usable_losses

    def short_of_memory(model, features, targets, precision):
        sizes.append(len(features))
        if len(features) > 3:
            raise torch.cuda.OutOfMemoryError("made up")
        return honest(model, features, targets, precision)

    monkeypatch.setattr(local, "usable_losses", short_of_memory)
    torch.testing.assert_close(plain(model, data), whole, rtol=1e-5, atol=1e-5)
    assert sizes == [9, 5, 3, 3, 3]


def test_a_weight_that_no_loss_depends_on_gets_zero():
    model, data = make("linear", 3)
    model.register_parameter("idle", nn.Parameter(torch.ones(2)))
    *_, idle = local.plain_sum(model, data.features, data.targets, CPU)
    assert torch.equal(idle, torch.zeros(2))
