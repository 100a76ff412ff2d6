"""Private training where a number is to be predicted."""

import pytest
import torch
from private_step import CPU, joined
from torch import nn

from tacit.domains.domain import Examples
from tacit.errors import ModelError
from tacit.learning import local
from tacit.learning.per_example import usable_losses
from tacit.models.architecture import zero_head
from tacit.models.compatibility import check_private
from tacit.models.linear import Linear

CLIP = 0.3


def rows(n=9):
    generator = torch.Generator().manual_seed(1)
    features = torch.randn((n, 4), generator=generator)
    return Examples(features, features @ torch.tensor([1.0, -0.5, 0.25, 0.0]) / 2)


def some_model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))


def by_hand(model, data):
    total = 0
    for x, y in zip(data.features, data.targets, strict=True):
        loss = 0.5 * (model(x[None])[0, 0] - y) ** 2
        gradient = joined(torch.autograd.grad(loss, list(model.parameters())))
        total = total + gradient * min(1.0, CLIP / gradient.norm().item())
    return total


def clipped(model, data):
    return joined(local.clipped_sum(model, data.features, data.targets, CLIP, CPU))


def test_the_clipped_sum_is_that_of_half_squared_errors():
    model, data = some_model(), rows()
    torch.testing.assert_close(clipped(model, data), by_hand(model, data), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_target_that_is_no_number_gives_a_gradient_of_zero(value):
    model, data = some_model(), rows()
    others = Examples(data.features[1:], data.targets[1:])
    data.targets[0] = value
    torch.testing.assert_close(clipped(model, data), by_hand(model, others), rtol=1e-4, atol=1e-5)
    _, usable = usable_losses(model, data.features, data.targets, torch.float32)
    assert usable.tolist() == [False] + [True] * 8


def test_one_row_moves_the_sum_by_the_clip_at_most():
    model, data = some_model(), rows()
    data.targets[0] = 1e30
    without = clipped(model, Examples(data.features[1:], data.targets[1:]))
    assert (clipped(model, data) - without).norm() <= CLIP * (1 + 1e-4)


def test_a_model_with_one_score_is_checked_as_one_that_predicts_a_number():
    """With cross-entropy over one class every gradient is zero, and nothing would be compared."""

    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 1)

        def forward(self, features):
            return self.head(features - features.mean(0))

    check_private(Linear().build((4,), 1), (4,))
    with pytest.raises(ModelError, match="examples mix in a batch"):
        check_private(Mixing(), (4,))


def test_a_fresh_model_predicts_the_middle_of_the_range():
    assert zero_head(4, 1)(torch.randn(3, 4)).abs().max() == 0
