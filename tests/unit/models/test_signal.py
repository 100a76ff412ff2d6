"""The encoder of sensors over time: what it keeps of windows, and that it trains privately."""

import pytest
import torch

from tacit.errors import ModelError
from tacit.models.compatibility import check_private
from tacit.models.masked_features import MaskedFeatures, blocks_of
from tacit.models.pretraining import Pretraining, pretrain
from tacit.models.signal import Signal, components, mixtures_of
from tacit.models.trainable import Train, choose_trainable

SHAPE = (20, 6)
SETTINGS = Pretraining(steps=30, learning_rate=3e-3, masked_share=0.5, batch_size=32, patch=5)


def model_of(**more):
    torch.manual_seed(0)
    return Signal(**{"mixtures": 2, "hidden": 16, "embedding": 8, **more}).build(SHAPE, 1)


def windows_of(n=200, seed=1):
    """Two causes, each with a level and a slope of its own, in six noisy sensors."""
    generator = torch.Generator().manual_seed(seed)
    causes = torch.randn(n, 2, 2, generator=generator)
    sensors = torch.tensor([[1.0, 2, 0, -1, 1, 0], [0, 1.0, 1, 1, -2, 0]])
    time = torch.stack([torch.ones(20), 0.3 * torch.linspace(-1, 1, 20)])
    clean = torch.einsum("nkm,kc,ms->ncs", causes, time, sensors)
    noise = torch.randn(n, *SHAPE, generator=generator) * torch.tensor([0.3, 1, 0.5, 1, 1, 2])
    return causes, sensors, clean + noise


@pytest.mark.parametrize("train", [Train.HEAD, Train.ALL])
@pytest.mark.parametrize("scaled", [False, True])
def test_it_can_be_trained_privately(train, scaled):
    model = model_of()
    if scaled:
        model.standardise(windows_of()[2])
    choose_trainable(model, train)
    check_private(model, SHAPE)


def test_it_prefers_no_score_at_the_start():
    model = model_of()
    model.standardise(windows_of()[2])
    assert torch.equal(model(windows_of()[2]), torch.zeros(200, 1))


def test_mixtures_are_the_causes_and_not_the_noise():
    causes, _, windows = windows_of(2000)
    mixing = mixtures_of(windows.double(), 2)
    levels = windows.mean(1).double() @ mixing
    # The planted levels follow linearly from what is kept, though one sensor is mostly noise.
    wanted = causes[:, 0].double()
    fitted = levels @ torch.linalg.lstsq(levels, wanted).solution
    assert (fitted - wanted).square().mean() < 0.05 * wanted.square().mean()
    assert mixing[5].abs().max() < 0.1 * mixing.abs().max()


def test_mixtures_have_noise_of_variance_one():
    _, _, windows = windows_of(2000)
    mixed = windows.double() @ mixtures_of(windows.double(), 6)
    time = torch.linspace(-1, 1, 20, dtype=torch.float64)
    slope = torch.einsum("c,ncm->nm", time, mixed) / time.square().sum()
    rest = mixed - mixed.mean(1, keepdim=True) - time[:, None] * slope[:, None]
    variance = rest.square().sum((0, 1)) / (len(rest) * 18)
    assert torch.allclose(variance, torch.ones(6, dtype=torch.float64), atol=0.02)


def test_the_code_is_level_and_slope():
    model = model_of()
    time = torch.linspace(-1, 1, 20)[:, None]
    level, slope = torch.tensor([1.0, -2, 3, 0, 0, 5]), torch.tensor([0.5, 0, -1, 2, 0, 1])
    code = model._code((level + time * slope)[None])
    wanted = torch.cat([level @ model.mixing, slope @ model.mixing])
    assert torch.allclose(code[0], wanted, atol=1e-5)


def test_components_have_unit_variance_where_there_is_no_floor():
    generator = torch.Generator().manual_seed(2)
    units = (
        torch.randn(500, 8, generator=generator).double()
        @ torch.randn(8, 8, generator=generator).double()
    )
    plain = (units - units.mean(0)) @ components(units, 5, 0.0)
    assert torch.allclose(torch.cov(plain.T), torch.eye(5, dtype=torch.float64), atol=1e-6)
    floored = ((units - units.mean(0)) @ components(units, 5, 0.1)).var(0)
    assert (floored.diff() < 0).all()
    assert floored[0] == pytest.approx(1 / 1.1)


def test_pretraining_fills_in_what_is_hidden():
    model, (_, _, pool) = model_of(mixtures=2, hidden=32), windows_of()
    blocks = blocks_of(SHAPE, (), SETTINGS.patch)
    losses = pretrain(MaskedFeatures(model, pool, blocks), SETTINGS, 0)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert model.embed(pool).std(0).min() > 0.05


def test_a_sensor_that_is_constant_in_the_pool_does_no_harm():
    model, (_, _, pool) = model_of(), windows_of()
    pool[:, :, 3] = 7.0
    model.standardise(pool)
    pool[0, 0, 3] = 1e9
    assert model.embed(pool).isfinite().all()


@pytest.mark.parametrize("shape", [(6,), (2, 6), (20, 1), (1, 20, 6)])
def test_other_examples_are_refused(shape):
    with pytest.raises(ModelError, match=r"model=signal takes windows"):
        Signal(mixtures=2).build(shape, 1)


@pytest.mark.parametrize(
    ("option", "value"), [("embedding", 99), ("embedding", 0), ("mixtures", 0), ("floor", -1)]
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(ModelError, match=f"{option}={value}"):
        model_of(**{option: value})
