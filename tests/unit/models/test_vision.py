"""The encoder of images: what it sees, what scales it, and that it can be trained privately."""

import math

import pytest
import torch
from torch import nn

from tacit.errors import ModelError
from tacit.models.compatibility import check_private
from tacit.models.masked_features import MaskedFeatures, blocks_of
from tacit.models.pretraining import Pretraining, pretrain
from tacit.models.trainable import (
    PRETRAINING_ONLY,
    Train,
    choose_trainable,
    trainable_weights,
)
from tacit.models.views import VIEWS_OF
from tacit.models.vision import (
    RANK,
    RIDGE,
    Vision,
    exemplar_map,
    gabor_filters,
)
from tacit.models.weights import load_state, state_arrays

SHAPE = (1, 28, 28)
SETTINGS = Pretraining(steps=40, learning_rate=5e-3, masked_share=0.5, batch_size=16, patch=4)


def model_of(seed=0, **more):
    torch.manual_seed(seed)
    return Vision(**{"channels": 8, "embedding": 12, **more}).build(SHAPE, 2)


def images_of(n=40, seed=3):
    """Smooth gratings of random direction: a patch follows from its surroundings."""
    generator = torch.Generator().manual_seed(seed)
    angle, phase = torch.rand(2, n, 1, 1, generator=generator) * 2 * math.pi
    down, across = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    wave = torch.sin(0.5 * (down * angle.sin() + across * angle.cos()) + phase)
    return (0.5 + 0.3 * wave)[:, None]


def pretrained(model, pool=None, seed=0):
    blocks = blocks_of(SHAPE, (), SETTINGS.patch)
    pool = images_of() if pool is None else pool
    return pretrain(MaskedFeatures(model, pool, blocks), SETTINGS, seed)


@pytest.mark.parametrize("train", [Train.HEAD, Train.ALL])
@pytest.mark.parametrize("scaled", [False, True])
def test_it_can_be_trained_privately(train, scaled):
    model = model_of()
    if scaled:
        model.standardise(images_of())
    choose_trainable(model, train)
    check_private(model, SHAPE)


def test_no_layer_mixes_examples():
    model = model_of()
    model.standardise(images_of())
    assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
    images = images_of(6, seed=9)
    model.train()
    with torch.no_grad():
        together = model.embed(images)
        alone = torch.cat([model.embed(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_head_alone_trains_and_starts_from_zero():
    model = model_of()
    choose_trainable(model, Train.HEAD)
    assert {name: a.shape for name, a in trainable_weights(model).items()} == {
        "head.weight": (2, 12),
        "head.bias": (2,),
    }
    assert not model(images_of(3)).any()
    choose_trainable(model, Train.ALL)
    names = set(trainable_weights(model))
    assert {"visible.weight", "conv2.weight", "conv3.weight", "head.weight"} <= names
    assert not any(name.startswith(PRETRAINING_ONLY) for name in names)


def test_structure_is_learnt():
    """Without a look at the other patches the best is the mean: a loss of the variance, 1."""
    losses = pretrained(model_of())
    assert losses[0] > 0.8
    assert sum(losses[-5:]) / 5 < 0.7


def test_a_hidden_pixel_is_not_seen():
    model = model_of()
    images = images_of(4)
    model.standardise(images)
    masked = torch.zeros(4, *SHAPE)
    masked[..., 8:16, 4:12] = 1
    other = torch.where(masked == 1, torch.rand(4, *SHAPE), images)
    assert model.reconstruct(images, masked).equal(model.reconstruct(other, masked))
    shown = torch.zeros_like(masked)
    assert not model.reconstruct(images, shown).equal(model.reconstruct(other, shown))
    assert not model.reconstruct(images, masked).equal(
        model.reconstruct(images * (1 - masked) + model.location * masked, shown)
    )


def test_the_same_seed_gives_the_same_bits():
    first, again, other = model_of(), model_of(), model_of(1)
    for seed, model in ((5, first), (5, again), (5, other)):
        torch.manual_seed(model is again)
        pretrained(model, seed=seed)
    one, two, three = (model.state_dict() for model in (first, again, other))
    assert all(one[name].equal(two[name]) for name in one)
    assert not one["projection"].equal(three["projection"])


def test_what_was_taken_from_the_pool_is_saved_with_the_weights():
    model = model_of()
    pretrained(model)
    fresh = model_of(seed=8)
    images = images_of(5, seed=4)
    assert not fresh.embed(images).equal(model.embed(images))
    load_state(fresh, state_arrays(model), "test")
    assert fresh.embed(images).equal(model.embed(images))


def test_what_the_head_sees_has_norm_one_also_of_a_wild_image():
    model = model_of()
    model.standardise(images_of())
    images = torch.cat([images_of(3), torch.zeros(1, *SHAPE), 1e6 * torch.ones(1, *SHAPE)])
    norms = model.embed(images).norm(dim=1)
    assert torch.allclose(norms, torch.ones(5), atol=1e-5)


@pytest.mark.parametrize("views", VIEWS_OF)
def test_views_matter_less_to_the_embedding_than_images(views):
    """Against the same images' raw pixels."""
    model, pool = model_of(views=views), images_of()
    model.standardise(pool)
    other = VIEWS_OF[views](pool, torch.Generator().manual_seed(77))

    def strayed(a, b):
        """How far views lie apart, relative to images that are not views of each other."""
        return (a - b).norm(dim=1).mean() / (a - b.roll(1, 0)).norm(dim=1).mean()

    with torch.no_grad():
        embedded = strayed(model.embed(pool), model.embed(other))
    assert embedded < 0.8 * strayed(pool.flatten(1), other.flatten(1))


@pytest.mark.parametrize("views", VIEWS_OF)
def test_views_stay_images_and_follow_from_the_generator(views):
    pool, made = images_of(), VIEWS_OF[views]
    first = made(pool, torch.Generator().manual_seed(1))
    assert first.shape == pool.shape
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.equal(made(pool, torch.Generator().manual_seed(1)))
    assert not first.equal(made(pool, torch.Generator().manual_seed(2)))


def test_unknown_views_are_named():
    with pytest.raises(ModelError, match=r"views=paintings.*photographs, speech"):
        Vision(views="paintings")


def test_filters_see_no_brightness_and_each_its_own_direction():
    filters = gabor_filters()
    assert filters.shape == (32, 1, 9, 9)
    assert filters.sum((1, 2, 3)).abs().max() < 1e-5
    assert torch.allclose(filters.flatten(1).norm(dim=1), torch.ones(32))
    down, across = torch.meshgrid(torch.arange(-4.0, 5), torch.arange(-4.0, 5), indexing="ij")
    for number in range(8):
        angle = math.pi * number / 8
        wave = torch.cos(2 * math.pi / 6 * (across * math.cos(angle) + down * math.sin(angle)))
        answers = (filters[16:, 0] * wave).sum((1, 2)).view(8, 2).square().sum(1)
        assert answers.argmax() == number


def test_the_map_is_a_discriminant_of_images_against_their_views():
    """Its scatters are diagonal: Fisher's criterion, with the ridge, checked without its code."""
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    images = torch.randn(300, 1, 6, generator=generator, dtype=torch.float64)
    strays = torch.randn(300, 5, 6, generator=generator, dtype=torch.float64)
    spreads = torch.tensor([3.0, 0.1, 1, 0.5, 2, 0.2], dtype=torch.float64)
    codes = (images + spreads * strays) @ mixing
    centre, projection = exemplar_map(codes, 6)
    assert torch.allclose(centre, codes.mean((0, 1)))
    means = codes.mean(1) - centre
    within = (codes - codes.mean(1, keepdim=True)).reshape(-1, 6)
    between = projection.T @ (means.T @ means / 300) @ projection
    scatter = within.T @ within / len(within)
    ridge = RIDGE * scatter.trace() / 6 * torch.eye(6, dtype=torch.float64)
    noise = projection.T @ (scatter + ridge) @ projection
    for found in (between, noise):
        assert (found - found.diagonal().diag()).abs().max() < 1e-8
    assert torch.allclose((between + noise).diagonal(), torch.ones(6, dtype=torch.float64))
    ratios = (between.diagonal() / noise.diagonal()).tolist()
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] > 3 * ratios[-1]


def test_fewer_directions_than_wanted_leave_zeros():
    codes = torch.randn(3, 2, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    _, projection = exemplar_map(codes, 8)
    rank = 3 * 2 - 1
    assert rank < RANK
    assert projection[:, rank:].abs().max() == 0
    assert (projection[:, :2].norm(dim=0) > 0).all()
    assert torch.isfinite(projection).all()


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 17, 30), (1, 16, 16)])
def test_images_of_any_size_are_reconstructed_in_their_own(shape):
    torch.manual_seed(0)
    model = Vision(channels=8, embedding=4).build(shape, 3)
    images = torch.rand(2, *shape)
    assert model(images).shape == (2, 3)
    assert model.reconstruct(images, torch.zeros(2, *shape)).shape == (2, *shape)


@pytest.mark.parametrize("shape", [(30,), (28, 28), (3, 28, 28), (1, 12, 28)])
def test_what_is_no_grey_image_is_refused(shape):
    with pytest.raises(ModelError, match=r"model=vision takes grey images.*choose another"):
        Vision().build(shape, 2)


@pytest.mark.parametrize("channels", [0, 4, 12])
def test_channels_that_groups_cannot_share_are_refused(channels):
    with pytest.raises(ModelError, match=rf"channels={channels} must be a multiple of 8"):
        Vision(channels=channels)
