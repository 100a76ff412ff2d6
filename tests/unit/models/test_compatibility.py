"""Models whose per-example gradients are undefined, or wrong in Opacus, are refused before use."""

import re

import pytest
import torch
from opacus.layers import DPLSTM, DPMultiheadAttention
from torch import nn

from tacit.errors import ModelError
from tacit.learning.per_example import PerExampleGradients
from tacit.models.compatibility import check_private, check_scores
from tacit.models.linear import Linear
from tacit.models.tabular import Tabular
from tacit.models.trainable import Train, choose_trainable


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.memory = kind(3, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, rows):
        return self.head(self.memory(rows)[0][:, -1])


class Attention(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.attention = kind(4, 2, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, rows):
        return self.head(self.attention(rows, rows, rows)[0].mean(1))


class Mixing(nn.Module):
    """Subtracts the mean of the batch: what BatchNorm does, without its name."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, rows):
        hidden = torch.tanh(self.body(rows))
        return self.head(hidden - hidden.mean(0, keepdim=True))


class Positions(nn.Module):
    """Looks its positions up once and broadcasts them over the batch, as GPT-2 does."""

    def __init__(self, length):
        super().__init__()
        self.length = length
        self.positions = nn.Embedding(length, 3)
        self.head = nn.Linear(3 * length, 2)

    def forward(self, rows):
        return self.head((rows + self.positions(torch.arange(self.length))).flatten(1))


class PositionsForEach(Positions):
    """The same with the batch as first dimension: what the advice asks for."""

    def forward(self, rows):
        places = torch.arange(self.length).expand(len(rows), -1)
        return self.head((rows + self.positions(places)).flatten(1))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, rows):
        return self.head(self.embedding((rows * 10).long()).mean(1))


class Tied(nn.Module):
    """One weight in two layers, one of them used twice."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.weight = self.one.weight
        self.head = nn.Linear(4, 2)

    def forward(self, rows):
        return self.head(torch.tanh(self.other(self.one(torch.tanh(self.one(rows))))))


class Shifted(nn.Module):
    """A parameter outside any layer."""

    def __init__(self, body):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2))
        self.body = body

    def forward(self, rows):
        return self.body(rows) + self.shift


def convolution(norm):
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


ACCEPTED = {
    "linear": (lambda: Linear().build((4,), 2), (4,)),
    "tabular": (lambda: Tabular().build((4,), 2), (4,)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)), (4,)),
    "group norm": (lambda: convolution(nn.GroupNorm(2, 4)), (1, 8, 8)),
    "instance norm": (lambda: convolution(nn.InstanceNorm2d(4, affine=True)), (1, 8, 8)),
    "embedding": (Tokens, (5,)),
    "tied": (Tied, (4,)),
    "bare parameter": (lambda: Shifted(nn.Linear(4, 2)), (4,)),
    "DPLSTM": (lambda: Recurrent(DPLSTM), (6, 3)),
    "DPMultiheadAttention": (lambda: Attention(DPMultiheadAttention), (5, 4)),
    "positions for each": (lambda: PositionsForEach(4), (4, 3)),
}
OPACUS = "Opacus cannot train this model privately: "
REFUSED = {
    "BatchNorm": (
        lambda: convolution(nn.BatchNorm2d(4)),
        (1, 8, 8),
        OPACUS + r"1 \(BatchNorm2d\): replace it by GroupNorm",
    ),
    "LSTM": (
        lambda: Recurrent(nn.LSTM),
        (6, 3),
        OPACUS + r"memory \(LSTM\): use opacus.layers.DPLSTM",
    ),
    "GRU": (lambda: Recurrent(nn.GRU), (6, 3), OPACUS + r"memory \(GRU\): use .*DPGRU"),
    "RNN": (lambda: Recurrent(nn.RNN), (6, 3), OPACUS + r"memory \(RNN\): use .*DPRNN"),
    "MultiheadAttention": (
        lambda: Attention(nn.MultiheadAttention),
        (5, 4),
        OPACUS + r"attention \(MultiheadAttention\): use opacus.layers.DPMultiheadAttention",
    ),
    "mixing": (Mixing, (4,), "gradients of .* are wrong for this model: its examples mix"),
    # Opacus is right about either alone, and wrong about both together.
    "tied under a bare parameter": (lambda: Shifted(Tied()), (4,), "one.weight are wrong"),
    "one position": (lambda: Positions(1), (1, 3), "Opacus"),
    # As many positions as examples in the check: the shapes fit by chance.
    "three positions": (lambda: Positions(3), (3, 3), "positions.weight are wrong .* broadcast"),
    "four positions": (lambda: Positions(4), (4, 3), "Opacus"),
}


def complaint(model, inputs):
    """What the check says against a model, None where it takes it.

    Weights, buffers and choices are afterwards what they were.
    """
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    chosen = [p.requires_grad for p in model.parameters()]
    said = None
    try:
        check_private(model, inputs)
    except ModelError as error:
        said = str(error)
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert [p.requires_grad for p in model.parameters()] == chosen
    assert all(p.grad is None for p in model.parameters())
    return said


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name):
    torch.manual_seed(0)
    build, inputs = ACCEPTED[name]
    assert complaint(build(), inputs) is None


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_do(name):
    torch.manual_seed(0)
    build, inputs, message = REFUSED[name]
    assert re.search(message, complaint(build(), inputs))


def test_every_layer_is_named():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    found = complaint(model, (4,))
    assert re.search(r"1 \(BatchNorm1d\): .*; 2 \(BatchNorm1d\): ", found)


def test_what_is_frozen_may_be_broadcast():
    model = Positions(4)
    assert "Opacus" in complaint(model, (4, 3))
    choose_trainable(model, Train.HEAD)
    assert complaint(model, (4, 3)) is None


def test_a_fresh_head_does_not_hide_the_layers_below():
    """Zero weights in the head make every gradient below them zero, right or wrong."""
    model = Positions(3)
    nn.init.zeros_(model.head.weight)
    assert "positions.weight are wrong for this model" in complaint(model, (3, 3))


def test_a_sum_of_gradients_that_is_wrong_by_a_percent_is_found(monkeypatch):
    honest = PerExampleGradients.__call__
    monkeypatch.setattr(
        PerExampleGradients, "__call__", lambda *given: [1.01 * g for g in honest(*given)]
    )
    assert "are wrong for this model" in complaint(Linear().build((4,), 2), (4,))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Linear(4, 3), "must give scores of shape (2, 2) for 2 examples of shape (4,), and"),
        (nn.Linear(5, 2), "it fails with: mat1 and mat2 shapes cannot be multiplied"),
        (nn.LSTM(4, 2), "and gives tuple"),
    ],
)
def test_a_model_that_gives_no_scores_is_refused(model, said):
    with pytest.raises(ModelError, match=re.escape(said)):
        check_scores(model, (4,), 2)


def test_a_model_that_gives_scores_stays_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_scores(model, (4,), 2)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("train", Train)
def test_a_model_without_a_head_is_refused(train):
    with pytest.raises(ModelError, match="has no submodule `head`"):
        choose_trainable(nn.Linear(4, 2), train)
