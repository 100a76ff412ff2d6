"""ONNX files: what cannot be made, or does not hold, is said and not left there."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from tacit.domains.domain import Card, Metric
from tacit.errors import ConfigurationError
from tacit.finished import onnx
from tacit.finished.whole import Whole

CARD = Card("desk", "Desk", "", ("a", "b"), Metric.ACCURACY, "one row")


class Stubborn(nn.Module):
    """Chooses its way by what it is given, which no graph can."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if features.sum() > 0:
            return features[:, :2]
        return features[:, 1:]


def whole(module):
    given = torch.linspace(-1, 1, 24).view(8, 3)
    with torch.no_grad():
        scores = module(given).numpy()
    return Whole("pytorch", "", module, {"features": (0,)}, (given,), scores, 0.0)


@pytest.fixture
def linear(monkeypatch):
    """A linear model, and its graph made by hand: torch takes seconds for one."""
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    import onnx as library
    from onnx import helper, numpy_helper

    torch.manual_seed(0)
    module = nn.Linear(3, 2).eval()
    weights = {"w": module.weight.detach().T.numpy().copy(), "b": module.bias.detach().numpy()}
    shapes = {"features": ["n", 3], onnx.OUTPUT: ["n", 2]}
    given, found = (helper.make_tensor_value_info(name, 1, shapes[name]) for name in shapes)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "w"], ["product"]),
            helper.make_node("Add", ["product", "b"], [onnx.OUTPUT]),
        ],
        "linear",
        [given],
        [found],
        [numpy_helper.from_array(each, name) for name, each in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    monkeypatch.setattr(
        onnx, "_write_fp32", lambda made, folder: library.save(model, folder / onnx.FP32)
    )
    return whole(module)


def test_both_files_do_what_the_model_does(linear, tmp_path):
    made = onnx.write_onnx(linear, CARD, tmp_path)
    assert [each.file for each in made.files] == [onnx.FP32, onnx.INT8]
    assert made.refused == ()
    assert made.files[0].difference < 1e-6
    assert made.files[0].agreement == 1
    assert 0 < made.files[1].difference <= made.files[1].bound
    assert {path.name for path in tmp_path.iterdir()} == {onnx.FP32, onnx.INT8}


@pytest.mark.slow
def test_what_no_graph_can_do_is_said(tmp_path, capfd):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    made = onnx.write_onnx(whole(Stubborn()), CARD, tmp_path)
    assert made.files == ()
    assert made.refused[0].startswith("model.onnx: cannot be made of this model: ")
    assert "data-dependent" in made.refused[0]
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_the_cause_of_a_failure_is_said_and_not_its_wrapping(linear, tmp_path, monkeypatch):
    def fails(made, folder):
        (folder / onnx.FP32).write_bytes(b"half a graph")
        try:
            raise ValueError("\x1b[96mno such operator\x1b[0m: roll\nand more")
        except ValueError as error:
            raise RuntimeError("step 1/3") from error

    monkeypatch.setattr(onnx, "_write_fp32", fails)
    made = onnx.write_onnx(linear, CARD, tmp_path)
    assert made.files == ()
    assert made.refused == (
        "model.onnx: cannot be made of this model: no such operator: roll",
        "model.int8.onnx: is made of model.onnx",
    )
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_hold_is_not_left_there(linear, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "INT8_SHARE", 0.0)  # rounding to 8 bits does not keep that
    made = onnx.write_onnx(linear, CARD, tmp_path)
    assert [each.file for each in made.files] == [onnx.FP32]
    assert "model.int8.onnx: left out: its scores differ" in made.refused[0]
    assert [path.name for path in tmp_path.iterdir()] == [onnx.FP32]


def test_scores_that_are_not_the_runs_are_refused(linear, tmp_path):
    other = replace(linear, scores=linear.scores + 1)
    made = onnx.write_onnx(other, CARD, tmp_path)
    assert made.files == ()
    assert made.refused[0].startswith("model.onnx: left out: its scores differ from the run's by 1")
    assert made.refused[1] == "model.int8.onnx: is made of model.onnx"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_said_with_its_extra(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=r"tacit\[onnx\].*--no-onnx"):
        onnx.check_onnx_there()
