"""Made-up tasks on public images: find the X-rays into which opacities were planted.

Half of what pneumonia looks like at 28 x 28 pixels is public knowledge: lungs, dark on a film, turn
bright in patches (consolidation), evenly (ground glass) or unevenly (interstitial). A task plants
one of these into warped copies of the public images. Images for pretraining, for training copies
and for test copies are disjoint, and test copies are warped more: other machines, other children.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tacit.domains.domain import Examples, SiteData
from tacit.domains.pneumonia import divide

SIDE: Final = 28
FOLDS: Final = 3
"""Public images are cut into so many parts: one makes a task's copies, the others pretrain."""
TRAIN_SHARE: Final = 0.66
"""Share of the images that are copied whose copies train; those of the others test."""
TRAIN_ROWS, TEST_ROWS = 4708, 1000
ILL: Final = 0.74
"""Share of training copies with an opacity: the published 3494 of 4708."""
SITES: Final = ("hospital_1", "hospital_2", "hospital_3", "hospital_4")
ALPHA: Final = 1.0

Array = npt.NDArray[np.float64]


class Opacity(StrEnum):
    """What is planted."""

    PATCHES = "patches"
    HAZE = "haze"
    TEXTURE = "texture"


@dataclass(frozen=True, slots=True)
class PlantedTask:
    """Images [n, 1, 28, 28] to pretrain on, and sites that share one test set."""

    pool: torch.Tensor
    sites: dict[str, SiteData]


def plan_of(number: int) -> tuple[int, Opacity]:
    """Return the fold and the opacity of a task; nine in a row are all there are."""
    return number % FOLDS, list(Opacity)[number // FOLDS % len(Opacity)]


def make_task(public: torch.Tensor, number: int) -> PlantedTask:
    """Make the task of a number from unlabelled public images [n, 1, 28, 28]."""
    fold, opacity = plan_of(number)
    order = np.random.default_rng(99).permutation(len(public))
    copied = order[fold::FOLDS]
    cut = int(len(copied) * TRAIN_SHARE)
    rng = np.random.default_rng([7, number])
    train = _copies(public[copied[:cut]], TRAIN_ROWS, ILL, opacity, 1.0, rng)
    test = _copies(public[copied[cut:]], TEST_ROWS, 0.5, opacity, 1.5, rng)
    rows_of = divide(train.targets.numpy(), SITES, ALPHA, number)
    return PlantedTask(
        public[np.setdiff1d(order, copied)],
        {
            site: SiteData(Examples(train.features[rows], train.targets[rows]), test)
            for site, rows in rows_of.items()
        },
    )


def _copies(
    images: torch.Tensor,
    n: int,
    ill: float,
    opacity: Opacity,
    strength: float,
    rng: np.random.Generator,
) -> Examples:
    copies = images[rng.integers(0, len(images), n)]
    targets = (rng.random(n) < ill).astype(np.int64)
    planted = np.flatnonzero(targets)
    masks = np.stack([_mask(opacity, rng) for _ in planted])
    tissue = rng.uniform(0.65, 0.85, (len(planted), 1, 1, 1))
    missing = (torch.from_numpy(tissue).float() - copies[planted]).clamp(min=0)
    copies[planted] += torch.from_numpy(masks[:, None]).float() * missing
    return Examples(warped(copies, strength, rng), torch.from_numpy(targets))


def _mask(opacity: Opacity, rng: np.random.Generator) -> Array:
    """Draw how much of each pixel [28, 28] turns to tissue; the lungs lie left and right."""
    down, across = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)

    def bump(y: float, x: float, height: float, width: float) -> Array:
        at = ((down - y) / height) ** 2 + ((across - x) / width) ** 2
        return np.asarray(np.exp(-at / 2))

    mask = np.zeros((SIDE, SIDE))
    if opacity is Opacity.PATCHES:
        for _ in range(rng.integers(1, 4)):
            size, y = rng.uniform(1.5, 4), rng.uniform(6, 22)
            x = rng.uniform(4, 11) if rng.random() < 0.5 else rng.uniform(17, 24)
            mask = np.maximum(mask, bump(y, x, size, size))
        return mask * rng.uniform(0.5, 1)
    if opacity is Opacity.HAZE:
        sides = (0, 1) if rng.random() < 0.6 else (int(rng.integers(2)),)
        for side in sides:
            x = rng.uniform(6, 10) if side == 0 else rng.uniform(18, 22)
            y, height, width = rng.uniform(9, 20), rng.uniform(4, 9), rng.uniform(3, 6)
            mask = np.maximum(mask, bump(y, x, height, width))
        return mask * rng.uniform(0.35, 0.9)
    coarse = torch.from_numpy(rng.normal(size=(1, 1, SIDE // 2, SIDE // 2)))
    fine = nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=True)
    y = rng.uniform(8, 20)
    lungs = np.maximum(bump(y, 8, 6, 4.5), bump(y, 20, 6, 4.5))
    mottled = np.clip(0.7 * fine[0, 0].numpy() + 0.5, 0, 1)
    return np.asarray(mottled * lungs * rng.uniform(0.5, 1))


def warped(images: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """Turn, move, stretch and bend images [n, 1, 28, 28] a little and change their exposure."""
    n = len(images)

    def normal(deviation: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(0, deviation * strength, shape)).float()

    angle, size, aspect = normal(0.06, n), normal(0.06, n).exp(), normal(0.06, n).exp()
    maps = torch.zeros(n, 2, 3)
    maps[:, 0, 0], maps[:, 0, 1] = size * aspect * angle.cos(), -size * angle.sin()
    maps[:, 1, 0], maps[:, 1, 1] = size * angle.sin(), size / aspect * angle.cos()
    maps[:, :, 2] = normal(0.06, n, 2)
    bend = nn.functional.interpolate(
        normal(0.04, n, 2, 4, 4), size=(SIDE, SIDE), mode="bicubic", align_corners=True
    )
    grid = nn.functional.affine_grid(maps, list(images.shape), align_corners=False) + bend.permute(
        0, 2, 3, 1
    )
    moved = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    gamma, gain = normal(0.2, n, 1, 1, 1).exp(), normal(0.12, n, 1, 1, 1).exp()
    middle = moved.mean((2, 3), keepdim=True)
    exposed = (moved.clamp(1e-3, 1) ** gamma - middle**gamma) * gain + middle
    return (exposed + normal(0.05, n, 1, 1, 1)).clamp(0, 1)
