"""How well a pretrained model predicts what is hidden, measured on the examples it learned from."""

import hashlib
import math
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import nn

from tacit.models.architecture import Pretrainable

CELLS: Final = 250
"""How often a block is hidden in a measurement, at least."""
BATCH: Final = 256
"""Most examples in one pass."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How well hidden blocks are predicted.

    Parameters
    ----------
    loss
        Mean squared error of a hidden feature, on standardised examples.
    baseline
        The same for whoever knows each feature's mean and nothing else: the mean of variances.
    blocks
        R² of each block: 1 - error / variance; None where it is constant.
    """

    loss: float
    baseline: float
    blocks: tuple[float | None, ...]

    @property
    def share(self) -> float | None:
        """R² of all features together."""
        return 1 - self.loss / self.baseline if self.baseline > 0 else None


@dataclass(frozen=True, slots=True)
class Pictures:
    """A few images: standardised pixels [k, height, width], mean of the channels.

    Parameters
    ----------
    original
        As they are.
    hidden
        Where the model sees nothing, bool.
    restored
        The original where it is seen, and the model's prediction where it is hidden.
    """

    original: torch.Tensor
    hidden: torch.Tensor
    restored: torch.Tensor


@torch.no_grad()
def recovery(
    model: nn.Module, pool: torch.Tensor, blocks: torch.Tensor, masked_share: float, seed: int
) -> Recovery:
    """Measure how well a model predicts hidden blocks of examples [n, ...].

    Parameters
    ----------
    model
        A module that implements `Pretrainable`.
    pool
        The examples.
    blocks
        Which features of an example are hidden together, int64 [...].
    masked_share
        Probability with which a block of an example is hidden.
    seed
        Fixes the masks, which no step of pretraining has seen.
    """
    learner = cast(Pretrainable, model)
    coins = coins_of("recovery", seed)
    place = blocks.flatten()
    count = int(place.max()) + 1
    error, cells = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for _ in range(math.ceil(CELLS / (masked_share * len(pool)))):
        for seen in torch.split(pool, BATCH):
            masked = (torch.rand(len(seen), count, generator=coins) < masked_share)[:, blocks]
            shown = masked.to(pool.dtype)
            wrong = (learner.reconstruct(seen, shown) - learner.standardised(seen)).square() * shown
            error.index_add_(0, place, wrong.flatten(1).double().sum(0))
            cells.index_add_(0, place, masked.flatten(1).double().sum(0))
    spread = learner.standardised(pool).double().var(0, correction=0).flatten()
    sizes = place.bincount().double()
    variance = torch.zeros_like(error).index_add_(0, place, spread) / sizes
    return Recovery(
        loss=float(error.sum() / cells.sum()),
        baseline=float(spread.mean()),
        blocks=tuple(
            1 - float(e / c) / float(v) if v > 0 and c > 0 else None
            for e, c, v in zip(error, cells, variance, strict=True)
        ),
    )


@torch.no_grad()
def pictures(
    model: nn.Module,
    pool: torch.Tensor,
    blocks: torch.Tensor,
    masked_share: float,
    seed: int,
    wanted: int,
) -> Pictures:
    """Hide parts of a few images [n, ..., height, width] and let the model fill them in.

    The arguments are those of `recovery`, and the number of images.
    """
    learner = cast(Pretrainable, model)
    coins = coins_of("pictures", seed)
    seen = pool[torch.randperm(len(pool), generator=coins)[:wanted]]
    hidden = torch.rand(len(seen), int(blocks.max()) + 1, generator=coins) < masked_share
    masked = hidden[:, blocks]
    original = learner.standardised(seen)
    restored = torch.where(masked, learner.reconstruct(seen, masked.to(pool.dtype)), original)
    return Pictures(_flat(original), _flat(masked.to(pool.dtype)) > 0, _flat(restored))


def _flat(images: torch.Tensor) -> torch.Tensor:
    return images.reshape(len(images), -1, *images.shape[-2:]).mean(1)


def coins_of(purpose: str, seed: int) -> torch.Generator:
    """Return a stream of draws apart from that of the steps."""
    digest = hashlib.sha256(f"tacit/pretrained/{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
