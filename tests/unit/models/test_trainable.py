"""Which weights train and how they travel; the architectures that are ours."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tacit.errors import ModelError
from tacit.models.linear import Linear
from tacit.models.tabular import Tabular
from tacit.models.trainable import (
    Train,
    choose_trainable,
    load_trainable,
    sha256_of,
    trainable_weights,
)

HEAD = {"head.weight", "head.bias"}


def tabular(seed=0, width=5):
    torch.manual_seed(seed)
    return Tabular(hidden=6, embedding=4).build((width,), 3)


def test_head_trains_the_head_alone():
    model = tabular()
    choose_trainable(model, Train.HEAD)
    assert trainable_weights(model).keys() == HEAD


def test_all_trains_everything_that_the_task_reaches():
    model = tabular()
    choose_trainable(model, Train.ALL)
    nn.functional.cross_entropy(model(torch.randn(4, 5)), torch.tensor([0, 1, 2, 0])).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trainable_weights(model).keys() == reached
    assert not any(name.startswith(("decoder", "absent")) for name in reached)


def test_a_choice_can_be_changed():
    model = tabular()
    choose_trainable(model, Train.ALL)
    choose_trainable(model, Train.HEAD)
    assert trainable_weights(model).keys() == HEAD


def test_weights_travel_unchanged_from_one_model_to_another():
    one, other = tabular(0), tabular(1)
    for model in (one, other):
        choose_trainable(model, Train.ALL)
    weights = trainable_weights(one)
    load_trainable(other, weights)
    back = trainable_weights(other)
    assert list(back) == list(weights)
    assert all(np.array_equal(back[name], weights[name]) for name in weights)
    assert all(array.dtype == np.float32 for array in back.values())


def test_what_was_taken_out_is_a_copy():
    model = tabular()
    choose_trainable(model, Train.HEAD)
    weights = trainable_weights(model)
    with torch.no_grad():
        model.head.bias.add_(1)
    assert (weights["head.bias"] == 0).all()
    load_trainable(model, weights)
    weights["head.bias"] += 1
    assert (model.head.bias == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.bias": None}, "weights do not belong to this model"),
        (
            {"tail.bias": np.zeros(3, np.float32)},
            "weights do not belong.* 0 are missing, and 1 are not its",
        ),
        ({"head.bias": np.zeros(4, np.float32)}, r"'head.bias' has shape \(4,\).*needs \(3,\)"),
        ({"head.weight": np.zeros((4, 3), np.float32)}, r"'head.weight' has shape \(4, 3\)"),
        ({"head.bias": np.array([0, np.nan, 0], np.float32)}, "'head.bias' holds values that are"),
        ({"head.bias": np.array([0, np.inf, 0], np.float32)}, "'head.bias' holds values that are"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, message):
    model = tabular()
    choose_trainable(model, Train.HEAD)
    weights = {**trainable_weights(model), **change}
    with pytest.raises(ModelError, match=message):
        load_trainable(model, {k: v for k, v in weights.items() if v is not None})


def test_the_hash_is_of_names_shapes_and_values():
    weights = {"b": np.array([1, 2], np.float32), "a": np.array([[3.0]], np.float32)}
    by_hand = b"a:(1, 1);" + b"\x00\x00\x40\x40" + b"b:(2,);" + b"\x00\x00\x80\x3f\x00\x00\x00\x40"
    assert sha256_of(weights) == hashlib.sha256(by_hand).hexdigest()
    assert sha256_of(dict(reversed(weights.items()))) == sha256_of(weights)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4), st.data())
def test_any_change_changes_the_hash(values, data):
    array = np.array(values, np.float32)
    changed = array.copy()
    place = data.draw(st.integers(0, len(values) - 1))
    changed.view(np.uint32)[place] ^= 1 << data.draw(st.integers(0, 31))
    assert sha256_of({"a": changed}) != sha256_of({"a": array})
    assert sha256_of({"b": array}) != sha256_of({"a": array})
    assert sha256_of({"a": array[None]}) != sha256_of({"a": array})


# Our architectures


@pytest.mark.parametrize(
    ("architecture", "shape"), [(Linear(), (4,)), (Linear(), (2, 3, 4)), (Tabular(), (4,))]
)
def test_an_untrained_model_prefers_no_class(architecture, shape):
    model = architecture.build(shape, 3)
    assert (model(torch.randn(5, *shape)) == torch.zeros(5, 3)).all()


def test_the_linear_model_is_linear_in_all_features():
    model = Linear().build((2, 3), 4)
    assert [p.shape for p in model.parameters()] == [(4, math.prod((2, 3))), (4,)]


@pytest.mark.parametrize("shape", [(), (1, 28, 28)])
def test_the_tabular_model_takes_rows_only(shape):
    with pytest.raises(ModelError, match="model=tabular takes rows of a table"):
        Tabular().build(shape, 2)


def test_features_are_standardised_by_the_pool_and_limited():
    model = tabular(width=3)
    pool = torch.tensor([[0.0, 1.0, 7.0], [2.0, 3.0, 7.0], [4.0, 5.0, 7.0]])
    model.standardise(pool)
    assert model.location.tolist() == [2.0, 3.0, 7.0]
    assert model.scale.tolist() == [2.0, 2.0, 1.0]  # a constant feature keeps scale 1
    assert model.standardised(pool).tolist() == [[-1, -1, 0], [0, 0, 0], [1, 1, 0]]
    far = torch.tensor([[1e9, -1e9, 7.0]])
    assert model.standardised(far).tolist() == [[5, -5, 0]]


def test_the_scaling_is_saved_with_the_weights():
    model = tabular()
    assert {"location", "scale"} <= model.state_dict().keys()
    assert not {"location", "scale"} & {name for name, _ in model.named_parameters()}


@given(st.floats(-100, 100), st.integers(0, 4))
def test_what_is_masked_cannot_be_seen(value, column):
    model = tabular()
    rows = torch.linspace(-1, 1, 10).reshape(2, 5)
    masked = torch.zeros(2, 5)
    masked[:, column] = 1
    changed = rows.clone()
    changed[:, column] = value
    assert torch.equal(model.reconstruct(rows, masked), model.reconstruct(changed, masked))
