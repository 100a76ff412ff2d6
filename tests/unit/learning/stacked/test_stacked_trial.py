"""What a cohort is trained by is found by trying, and what is not used is named."""

import pytest
import torch
from stacked_models import MODELS
from torch import nn

from tacit.learning.local import Compute
from tacit.learning.stacked import trial
from tacit.learning.stacked.trial import Means, choose

CPU = Compute(torch.device("cpu"))
OPACUS_CANNOT = {"in place", "convolutions", "twice"}
"""A ReLU in place, and a table that is also a matrix: `check_private` refuses such a model."""


class Centred(nn.Module):
    """Takes the mean of the batch from each row: without a weight, so no rule can see it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, features):
        return self.layer(features - features.mean(0))


class Matrix(nn.Module):
    """Multiplies by a bare matrix."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()
        self.weight = nn.Parameter(torch.randn(4, 3))

    def forward(self, features):
        return self.inner(features) @ self.weight


def chosen(model, inputs=(4,), private=True):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = choose(model, inputs, CPU, private=private)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())
    return found


@pytest.mark.parametrize("name", sorted(set(MODELS) - OPACUS_CANNOT))
@pytest.mark.parametrize("private", [True, False])
def test_every_model_that_has_rules_is_stacked(name, private):
    build, inputs = MODELS[name]
    found = chosen(build(), inputs, private)
    assert (found.means, found.reasons) == (Means.STACKED, ())
    assert found.sums_of is not None


def test_a_weight_without_a_rule_goes_by_vmap_and_its_layer_is_named():
    found = chosen(nn.Sequential(nn.Linear(4, 4), Matrix()))
    assert found.means is Means.VMAP
    assert found.reasons == ("stacked: no rule for matmul in 1 (Matrix)",)


def test_examples_that_mix_are_found_though_no_weight_shows_it():
    found = chosen(Centred(), private=False)
    assert (found.means, found.sums_of) == (Means.LOOP, None)
    assert [reason.split(":")[0] for reason in found.reasons] == ["stacked", "vmap"]
    assert all("examples mix" in reason for reason in found.reasons)


def test_a_batch_norm_that_does_not_train_is_found():
    norm = nn.BatchNorm1d(4).requires_grad_(False)
    found = chosen(nn.Sequential(norm, nn.Linear(4, 3)), private=False)
    assert found.means is Means.LOOP


def test_dropout_belongs_to_each_site():
    found = chosen(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Linear(4, 3)))
    assert found.means is Means.LOOP
    assert found.reasons == ("1 (Dropout) draws for each site by itself",)
    assert chosen(nn.Sequential(nn.Dropout(0.0), nn.Linear(4, 3))).means is Means.STACKED


@pytest.mark.parametrize("private", [True, False])
def test_a_rule_that_is_wrong_is_not_used(private, monkeypatch):
    from tacit.learning.stacked import parameter

    honest = parameter._bias_of
    monkeypatch.setattr(parameter, "_bias_of", lambda keep: lambda g: honest(keep)(1.1 * g))
    spread = parameter._spread
    if not private:  # there autograd differentiates what the rule computes
        monkeypatch.setattr(parameter, "_spread", lambda *args: 1.5 * spread(*args))
    found = chosen(nn.Linear(4, 3), private=private)
    assert found.means is Means.VMAP
    assert "are not those of one site after another" in found.reasons[0]


def test_some_made_up_examples_are_clipped_and_some_are_not():
    example = trial._Example(nn.Linear(4, 3), (4,), CPU, True)
    assert (example._clips > 0).all()
    assert len(set(example._clips.tolist())) == 2
