"""Adapters merged and mended layers left out: what is written is what its library makes."""

import pytest
import torch
from torch import nn

from tacit.errors import ModelError
from tacit.models.adapters import Lora, add_adapters, merge_adapters
from tacit.models.linear import Linear, LinearModel
from tacit.models.mended import fix_batch_norms, take_weights
from tacit.models.signal import Signal
from tacit.models.tabular import Tabular, TabularModel
from tacit.models.vision import Vision


def test_merged_adapters_leave_names_and_scores_as_they_were():
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    torch.manual_seed(0)
    model, rows = TabularModel(6, 2, 8, 4), torch.randn(5, 6)
    nn.init.normal_(model.head.weight)
    names = [*model.state_dict()]
    with torch.no_grad():
        before = model(rows)
        add_adapters(model, Lora(rank=2))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        adapted = model(rows)
        merge_adapters(model)
        torch.testing.assert_close(model(rows), adapted, atol=1e-5, rtol=1e-5)
    assert (adapted - before).abs().max() > 1e-2
    assert [*model.state_dict()] == names


def test_a_model_without_adapters_is_left_as_it_is():
    model = LinearModel(3, 2)
    weight = model.head.weight
    merge_adapters(model)
    assert model.head.weight is weight


def norms():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))
    with torch.no_grad():
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2)
    return model.eval()


def test_a_norm_that_was_fixed_stays_the_librarys():
    plain, mended, images = norms(), norms(), torch.randn(2, 1, 8, 8)
    fix_batch_norms(mended)
    with torch.no_grad():
        mended[2].weight.add_(1)
        own = mended(images)
        take_weights(plain, mended)
        torch.testing.assert_close(plain(images), own, atol=1e-5, rtol=1e-5)
    assert isinstance(plain[1], nn.BatchNorm2d)


@pytest.mark.parametrize("mended", [nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 2))])
def test_a_weight_that_the_library_does_not_have_is_said(mended):
    with pytest.raises(ModelError, match="no such weight"):
        take_weights(nn.Linear(2, 2), mended)


@pytest.mark.parametrize(
    ("architecture", "inputs"),
    [(Linear(), (6,)), (Tabular(), (6,)), (Signal(), (30, 14)), (Vision(), (1, 28, 28))],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_graph_of_our_models_holds_for_any_number_of_examples(architecture, inputs):
    """It is what ONNX is made of."""
    model = architecture.build(inputs, 2).eval()
    nn.init.normal_(model.head.weight)
    free = ({0: torch.export.Dim.DYNAMIC},)
    graph = torch.export.export(model, (torch.rand(4, *inputs),), dynamic_shapes=free).module()
    examples = torch.rand(7, *inputs)
    with torch.no_grad():
        torch.testing.assert_close(graph(examples), model(examples))
