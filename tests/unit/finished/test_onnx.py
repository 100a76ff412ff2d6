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
def linear():
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    torch.manual_seed(0)
    return whole(nn.Linear(3, 2).eval())


def test_what_no_graph_can_do_is_said(tmp_path, capfd):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    made = onnx.write_onnx(whole(Stubborn()), CARD, tmp_path)
    assert made.files == ()
    assert made.refused[0].startswith("model.onnx: cannot be made of this model: ")
    assert "data-dependent" in made.refused[0]
    assert capfd.readouterr() == ("", "")
    assert made.refused[1] == "model.int8.onnx: is made of model.onnx"
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_hold_is_not_left_there(linear, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "INT8_SHARE", 0.0)
    # A bound that rounding to 8 bits does not keep.
    made = onnx.write_onnx(replace(linear, scores=linear.scores + 1e-6), CARD, tmp_path)
    assert [each.file for each in made.files] == ["model.onnx"]
    assert made.files[0].difference == pytest.approx(1e-6, abs=1e-6)
    assert "model.int8.onnx: left out: its scores differ" in made.refused[0]
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_scores_that_are_not_the_runs_are_refused(linear, tmp_path):
    made = onnx.write_onnx(replace(linear, scores=linear.scores + 1), CARD, tmp_path)
    assert made.files == ()
    assert made.refused[0].startswith("model.onnx: left out: its scores differ from the run's by 1")
    assert made.refused[1] == "model.int8.onnx: is made of model.onnx"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_said_with_its_extra(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=r"tacit\[onnx\].*--no-onnx"):
        onnx.check_onnx_there()
