"""How well hidden blocks are predicted, against models whose score is known beforehand."""

import pytest
import torch
from torch import nn

from tacit.models.masked_features import blocks_of
from tacit.models.reconstruction import BATCH, CELLS, pictures, recovery

GROUPS = (slice(0, 1), slice(1, 3), slice(3, 4))
BLOCKS = blocks_of((4,), GROUPS, None)


class Known(nn.Module):
    """Predicts `guess` of the standardised examples, which it is given whole."""

    def __init__(self, pool, guess):
        super().__init__()
        self.location, self.scale, self.guess = pool.mean(0), 2.0, guess
        self.passes = []

    def standardised(self, features):
        return (features - self.location) / self.scale

    def reconstruct(self, features, masked):
        self.passes.append((len(features), masked))
        return self.guess(self.standardised(features))


def pool_of(n=300):
    chance = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, generator=chance) * torch.tensor([1.0, 2, 3, 4]) + 5


def test_one_who_knows_all_and_one_who_knows_the_mean():
    pool = pool_of()
    best = recovery(Known(pool, lambda rows: rows), pool, BLOCKS, 0.3, 0)
    assert (best.loss, best.blocks, best.share) == (0, (1, 1, 1), 1)
    mean = recovery(Known(pool, torch.zeros_like), pool, BLOCKS, 0.3, 0)
    # By definition, up to which cells happened to be hidden.
    assert mean.blocks == pytest.approx((0, 0, 0), abs=0.25)
    assert mean.baseline == pytest.approx(float((pool / 2).var(0, correction=0).mean()), rel=1e-6)
    assert mean.loss == pytest.approx(mean.baseline, rel=0.25)


def test_a_block_is_scored_by_its_own_error_over_its_own_variance():
    """A wrong prediction of one block, by a known amount, shows there and nowhere else."""
    pool = pool_of()
    off = torch.tensor([0.0, 0.6, 0.8, 0.0])
    found = recovery(Known(pool, lambda rows: rows + off), pool, BLOCKS, 0.3, 0)
    variance = (pool / 2).var(0, correction=0)
    # Mean of 0.36 and 0.64, over the mean of both variances.
    wanted = 1 - 0.5 / float((variance[1] + variance[2]) / 2)
    assert found.blocks == pytest.approx((1, wanted, 1), rel=1e-5)


def test_a_constant_column_has_no_score():
    pool = pool_of()
    pool[:, 3] = 7
    found = recovery(Known(pool, torch.zeros_like), pool, BLOCKS, 0.3, 0)
    assert found.blocks[2] is None
    assert None not in found.blocks[:2]
    still = torch.ones(30, 4)
    assert recovery(Known(still, torch.zeros_like), still, BLOCKS, 0.3, 0).share is None


@pytest.mark.parametrize("n", [10, 300, 2000])
def test_every_block_is_hidden_often_in_small_passes(n):
    pool = pool_of(n)
    model = Known(pool, torch.zeros_like)
    recovery(model, pool, BLOCKS, 0.3, 0)
    assert max(size for size, _ in model.passes) <= BATCH
    hidden = torch.cat([masked for _, masked in model.passes]).sum(0)
    assert hidden[1] == hidden[2]
    # Five standard deviations of a binomial.
    assert (hidden > CELLS - 5 * CELLS**0.5).all()


def test_masks_have_a_stream_of_their_own():
    pool = pool_of()
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    masks = {}
    for seed in (0, 0, 1):
        model = Known(pool, torch.zeros_like)
        recovery(model, pool, BLOCKS, 0.3, seed)
        masks.setdefault(seed, []).append(model.passes[0][1])
    assert torch.random.get_rng_state().equal(before)
    assert masks[0][0].equal(masks[0][1])
    assert not masks[0][0].equal(masks[1][0])
    steps = torch.rand(len(masks[0][0]), 3, generator=torch.Generator().manual_seed(0)) < 0.3
    assert not masks[0][0].equal(steps[:, BLOCKS].float())


def test_a_picture_is_restored_only_where_it_was_hidden():
    images = torch.rand(9, 1, 8, 12, generator=torch.Generator().manual_seed(2))
    blocks = blocks_of((1, 8, 12), (), 4)
    model = Known(images, lambda seen: seen + 3)
    shown = pictures(model, images, blocks, 0.5, 0, 5)
    assert shown.original.shape == shown.hidden.shape == shown.restored.shape == (5, 8, 12)
    assert 0 < shown.hidden.float().mean() < 1
    difference = shown.restored - shown.original
    assert (difference[shown.hidden] - 3).abs().max() < 1e-5
    assert (difference[~shown.hidden] == 0).all()
    # Five different ones of the pool.
    flat = model.standardised(images)[:, 0]
    numbers = [int((flat == one).all((1, 2)).nonzero()[0, 0]) for one in shown.original]
    assert len(set(numbers)) == 5
    assert len(pictures(model, images[:3], blocks, 0.5, 0, 5).original) == 3
