"""Masked modelling on public examples: columns of a table, patches of an image."""

import pytest
import torch
from torch import nn

from tacit.errors import ConfigurationError, ModelError
from tacit.models.masked_features import MaskedFeatures, blocks_of, kind_of
from tacit.models.pretraining import Pretraining, pretrain
from tacit.models.tabular import Tabular

GROUPS = (slice(0, 1), slice(1, 3), slice(3, 6))
BLOCKS = blocks_of((6,), GROUPS, None)
SETTINGS = Pretraining(steps=60, learning_rate=1e-2, masked_share=0.3)


def model_of(seed=0):
    torch.manual_seed(seed)
    return Tabular(hidden=16, embedding=8).build((6,), 2)


def pool_of(n=80):
    """Rows of one hidden number: every column can be told from any other."""
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(n, 1, generator=generator)
    return hidden * torch.tensor([1.0, -2, 3, 0.5, -1, 2]) + 4


def run(pool=None, seed=0, settings=SETTINGS, **more):
    model = model_of()
    objective = MaskedFeatures(model, pool_of() if pool is None else pool, BLOCKS)
    return model, pretrain(objective, settings, seed, **more)


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_structure_is_learnt():
    """Without a look at the other columns the best is the mean: a loss of the variance, 1."""
    _, losses = run()
    assert losses[0] > 0.8
    assert sum(losses[-10:]) / 10 < 0.2


def test_independent_columns_cannot_be_learnt():
    pool = torch.randn(500, 6, generator=torch.Generator().manual_seed(7))
    _, losses = run(pool)
    assert sum(losses[-10:]) / 10 > 0.7


def test_the_head_stays_and_all_the_rest_moves():
    before = state_of(model_of())
    model, _ = run()
    moved = {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}
    assert moved == {name for name in before if not name.startswith("head.")}


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    torch.manual_seed(1)
    first, losses = run(seed=3)
    torch.manual_seed(2)
    again, same = run(seed=3)
    assert losses == same
    assert all(
        a.equal(b) for a, b in zip(state_of(first).values(), state_of(again).values(), strict=True)
    )
    assert run(seed=4)[1] != losses


def test_a_column_is_hidden_as_a_whole_and_as_often_as_asked(monkeypatch):
    seen = []
    model = model_of()
    honest = model.reconstruct
    monkeypatch.setattr(
        model, "reconstruct", lambda rows, masked: (seen.append(masked), honest(rows, masked))[1]
    )
    pretrain(MaskedFeatures(model, pool_of(), BLOCKS), SETTINGS, 0)
    masks = torch.stack(seen)
    assert masks.shape == (60, 80, 6)
    for group in GROUPS:
        assert (masks[..., group] == masks[..., group][..., :1]).all()
    # 60 * 80 * 3 coins with probability 0.3: five standard errors are 0.019.
    drawn = masks[..., [0, 1, 3]]
    assert (drawn.mean() - 0.3).abs() < 5 * (0.3 * 0.7 / drawn.numel()) ** 0.5


def test_every_step_is_told():
    told = []
    _, losses = run(on_step=lambda step, loss: told.append((step, loss)))
    assert told == list(enumerate(losses, 1))
    assert len(losses) == SETTINGS.steps


@pytest.mark.parametrize(
    ("blocks", "advice"),
    [
        (BLOCKS, r"masked-feature modelling: choose model=tabular"),
        (blocks_of((1, 2, 3), (), 1), r"masked-patch modelling: choose model=vision"),
    ],
)
def test_a_model_without_anything_to_pretrain_is_refused(blocks, advice):
    with pytest.raises(ModelError, match=r"Linear cannot be pretrained by " + advice):
        MaskedFeatures(nn.Linear(6, 2), pool_of(), blocks)


def test_the_coins_of_a_full_batch_are_one_for_each_row_and_column(monkeypatch):
    """What pretrained tables before there were images still gives the same bits."""
    seen = []
    model = model_of()
    honest = model.reconstruct
    monkeypatch.setattr(
        model, "reconstruct", lambda rows, masked: (seen.append(masked), honest(rows, masked))[1]
    )
    pretrain(MaskedFeatures(model, pool_of(), BLOCKS), SETTINGS, 11)
    coins = torch.Generator().manual_seed(11)
    for masked in seen:
        hidden = torch.rand(80, len(GROUPS), generator=coins) < SETTINGS.masked_share
        assert masked.equal(hidden[:, [0, 1, 1, 2, 2, 2]].float())


def test_a_batch_is_that_many_different_examples(monkeypatch):
    seen = []
    model, pool = model_of(), pool_of()
    honest = model.reconstruct
    monkeypatch.setattr(
        model, "reconstruct", lambda rows, masked: (seen.append(rows), honest(rows, masked))[1]
    )
    settings = Pretraining(steps=12, learning_rate=1e-2, masked_share=0.3, batch_size=30)
    pretrain(MaskedFeatures(model, pool, BLOCKS), settings, 0)
    numbers = [[int((pool == row).all(1).nonzero()[0, 0]) for row in rows] for rows in seen]
    assert all(len(set(batch)) == 30 for batch in numbers)
    assert set().union(*numbers) == set(range(80))
    assert numbers[0] != numbers[1]


def test_a_batch_larger_than_the_pool_is_the_pool():
    settings = Pretraining(steps=3, learning_rate=1e-2, masked_share=0.3, batch_size=1000)
    assert len(run(settings=settings)[1]) == 3


def test_blocks_of_a_table_are_its_columns():
    assert BLOCKS.tolist() == [0, 1, 1, 2, 2, 2]


def test_blocks_of_an_image_are_its_patches_alike_in_every_channel():
    blocks = blocks_of((2, 4, 6), (), 3)
    wanted = [[0, 0, 0, 1, 1, 1]] * 3 + [[2, 2, 2, 3, 3, 3]]
    assert blocks.tolist() == [wanted, wanted]
    assert blocks.dtype == torch.int64
    across = blocks_of((28, 28), (), 4)
    assert across.unique().tolist() == list(range(49))
    assert (across == across[0, 0]).sum() == 16


def test_a_patch_belongs_to_images_and_images_need_one():
    with pytest.raises(ConfigurationError, match=r"model.pretraining.patch=4: rows of a table"):
        blocks_of((6,), GROUPS, 4)
    with pytest.raises(ConfigurationError, match=r"model.pretraining.patch=null: images are"):
        blocks_of((1, 28, 28), (), None)


def test_a_report_says_which_modelling_it_was():
    assert kind_of((6,)) == "masked-feature modelling"
    assert kind_of((1, 28, 28)) == "masked-patch modelling"


def test_scale_and_location_are_taken_again_at_the_end(monkeypatch):
    """What lies on top of the encoder can only be scaled when the encoder is learnt."""
    model, asked = model_of(), []
    honest = model.standardise
    before = model.encoder.weight.detach().clone()
    monkeypatch.setattr(
        model,
        "standardise",
        lambda pool: (asked.append(not model.encoder.weight.equal(before)), honest(pool))[1],
    )
    pretrain(MaskedFeatures(model, pool_of(), BLOCKS), SETTINGS, 0)
    assert asked == [False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"masked_share": 0.0},
        {"masked_share": 1.0},
        {"masked_share": float("nan")},
        {"batch_size": 0},
        {"patch": 0},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    ((key, value),) = wrong.items()
    with pytest.raises(ConfigurationError, match=f"model.pretraining.{key}={value} is out"):
        Pretraining(**wrong)
