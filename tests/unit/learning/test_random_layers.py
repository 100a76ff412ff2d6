"""Layers that draw random numbers: dropout, from a stream of its own."""

import pytest
import torch
from private_step import CPU, EMPTY, STEP, make, stream, weights_of
from torch import nn

from tacit.errors import ModelError
from tacit.learning import local
from tacit.models.compatibility import check_private


def with_dropout(rate=0.5):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(rate), nn.Linear(8, 3))


def after_a_round(round, data=None):
    model, (_, rows) = with_dropout(), make("mlp", 9)
    local.train_round(
        model,
        rows if data is None else data,
        STEP,
        coins=stream("coins"),
        noise=stream("noise"),
        layers=stream("layers", round=round),
        compute=CPU,
    )
    return weights_of(model)


def test_a_model_with_dropout_is_accepted():
    model = with_dropout()
    before = [p.clone() for p in model.parameters()]
    check_private(model, (4,))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_same_stream_drops_the_same_whatever_was_drawn_before():
    first = after_a_round(1)
    torch.rand(5)
    assert torch.equal(first, after_a_round(1))


def test_another_round_drops_other_units():
    assert not torch.equal(after_a_round(1), after_a_round(2))
    # Without rows nothing but noise is left, and that is the same.
    assert torch.equal(after_a_round(1, EMPTY), after_a_round(2, EMPTY))


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    after_a_round(1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_numbers_outside_a_dropout_layer_are_refused_in_words():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, features):
            return self.head(nn.functional.dropout(features, 0.5, self.training))

    with pytest.raises(ModelError, match="draws random numbers outside a Dropout layer"):
        check_private(Functional(), (4,))
