"""Features of the frozen part, kept where only the head trains."""

import pytest
import torch
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning.local import Compute, clipped_sum
from tacit.learning.stacked.frozen import split

CPU = Compute(torch.device("cpu"))


class Model(nn.Module):
    """A frozen body and a head, with what may stand between them."""

    def __init__(self, body=None, after=None, calls=1):
        super().__init__()
        self.body = body or nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.body.requires_grad_(False)
        self.head = nn.Linear(6, 3)
        self.after = after or nn.Identity()
        self.calls = calls

    def forward(self, features):
        seen = self.body(features)
        for _ in range(self.calls):
            scores = self.head(seen)
        return self.after(scores)


def rows(n=5):
    generator = torch.Generator().manual_seed(0)
    return Examples(
        torch.randn(n, 4, generator=generator), torch.randint(3, (n,), generator=generator)
    )


def test_the_head_of_its_features_is_the_model():
    model = Model()
    found = split(model, (4,), CPU)
    assert (found.prefix, found.head, found.inputs) == ("head", model.head, (6,))
    kept = found.features(rows(), CPU)
    assert torch.equal(found.head(kept.features), model(rows().features))
    assert torch.equal(kept.targets, rows().targets)
    whole = clipped_sum(model, rows().features, rows().targets, 0.4, CPU)
    head = clipped_sum(found.head, kept.features, kept.targets, 0.4, CPU)
    for one, other in zip(whole, head, strict=True):
        torch.testing.assert_close(one, other)


def test_an_unusable_row_stays_one():
    odd = rows()
    odd.features[2, 1] = torch.inf
    model = Model()
    kept = split(model, (4,), CPU).features(odd, CPU)
    assert torch.isnan(kept.features[2]).all()
    assert torch.isfinite(kept.features[[0, 1, 3, 4]]).all()
    whole = clipped_sum(model, odd.features, odd.targets, 0.4, CPU)
    head = clipped_sum(model.head, kept.features, kept.targets, 0.4, CPU)
    for one, other in zip(whole, head, strict=True):
        torch.testing.assert_close(one, other)


def test_no_rows():
    assert split(Model(), (4,), CPU).features(rows(0), CPU).features.shape == (0, 6)


@pytest.mark.parametrize(
    "model",
    [
        Model(nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.1))),
        Model(after=nn.Softmax(1)),
        Model(calls=2),
        Model(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))),
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)),
        nn.Linear(4, 3),
    ],
    ids=["dropout", "something after", "two calls", "examples mix", "more trains", "no body"],
)
def test_what_may_not_be_kept_is_not(model):
    assert split(model, (4,), CPU) is None


def test_in_half_precision_the_head_would_see_other_roundings():
    assert split(Model(), (4,), Compute(torch.device("cpu"), precision=torch.bfloat16)) is None
