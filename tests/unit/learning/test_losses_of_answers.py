"""The loss of rows with several answers, as labels and ordered classes have them."""

import pytest
import torch
from torch import nn

from tacit.learning.local import Compute, clipped_sum
from tacit.learning.per_example import usable_losses
from tacit.learning.stacked.gradients import Batch, stacked_sums
from tacit.learning.stacked.vmapped import vmapped_sums
from tacit.models.linear import LinearModel

CLIP = 0.1


def test_the_loss_is_the_mean_of_the_answers_cross_entropies() -> None:
    scores = torch.tensor([[0.0, 2.0], [1.0, -1.0]])
    answers = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    losses, usable = usable_losses(lambda _: scores, torch.zeros(2, 3), answers, torch.float32)
    by_hand = [(0.6931472 + 2.1269280) / 2, (1.3132617 + 1.3132617) / 2]
    assert losses.tolist() == pytest.approx(by_hand, rel=1e-6)
    assert usable.all()


@pytest.mark.parametrize("odd", [0.5, -1.0, float("nan")])
def test_a_row_with_an_answer_that_is_neither_has_no_gradient(odd: float) -> None:
    model = LinearModel(3, 2)
    answers = torch.tensor([[1.0, odd]])
    sums = clipped_sum(model, torch.ones(1, 3), answers, CLIP, Compute(torch.device("cpu")))
    assert all(not total.any() for total in sums)


@pytest.mark.parametrize("work", [stacked_sums, vmapped_sums])
def test_engines_agree_on_answers(work: object) -> None:
    torch.manual_seed(0)
    model = LinearModel(5, 3)
    nn.init.normal_(model.head.weight)
    features = torch.randn(2, 4, 5)
    answers = torch.randint(0, 2, (2, 4, 3)).float()
    values = {name: torch.stack([p.detach()] * 2) for name, p in model.named_parameters()}
    batch = Batch(features, answers, torch.ones(2, 4, dtype=torch.bool))
    assert callable(work)
    sums = work(model, values, batch, torch.full((2,), CLIP))
    for site in range(2):
        alone = clipped_sum(
            model, features[site], answers[site], CLIP, Compute(torch.device("cpu"))
        )
        for own, name in zip(alone, sums, strict=True):
            torch.testing.assert_close(sums[name][site], own, atol=1e-6, rtol=1e-5)
