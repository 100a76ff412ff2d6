"""Other views of an image: what it could have been as well, without meaning anything else."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import nn

Views = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
"""Makes another view of each image [n, 1, h, w] in [0, 1]; its draws protect nobody."""


def photographed(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return another view of each image [n, 1, h, w] in [0, 1]: what tells nothing of disease.

    Mirrored, moved by up to 4 pixels of 28, stretched by up to a fifth to either side, and with
    another gamma, contrast and brightness, as another exposure would have.
    """
    n = len(images)
    maps = torch.zeros(n, 2, 3)
    maps[:, 0, 0] = 1 + 0.2 * _evenly(generator, n)
    maps[:, 1, 1] = 1 + 0.2 * _evenly(generator, n)
    maps[:, :, 2] = 4 / 14 * _evenly(generator, n, 2)
    grid = nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
    moved = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    exposed = moved.clamp(1e-3, 1) ** torch.exp(0.4 * _evenly(generator, n, 1, 1, 1))
    exposed = (exposed - 0.5) * torch.exp(0.3 * _evenly(generator, n, 1, 1, 1)) + 0.5
    exposed = (exposed + 0.12 * _evenly(generator, n, 1, 1, 1)).clamp(0, 1)
    mirrored = torch.rand(n, 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, exposed.flip(3), exposed)


def respoken(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return another view of each spectrogram [n, 1, frames, bands] in [0, 1]: another voice.

    Its bands are moved by up to 6 % of all and stretched by up to 12 % (a throat of another
    length), its frames moved, stretched and bent by about as much (another tempo), its loudness
    tilted and waved over the bands (another microphone), and there is another background noise.
    """
    n, _, frames, bands = images.shape
    maps = torch.zeros(n, 2, 3)
    maps[:, 0, 0] = 1 + 0.12 * _evenly(generator, n)
    maps[:, 1, 1] = 1 + 0.15 * _evenly(generator, n)
    maps[:, 0, 2] = 0.12 * _evenly(generator, n)
    maps[:, 1, 2] = 0.1 * _evenly(generator, n)
    grid = nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
    middle = torch.cos(torch.linspace(-1, 1, frames) * torch.pi / 2)
    grid[..., 1] += 0.12 * _evenly(generator, n, 1, 1) * middle[:, None]
    moved = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    band = torch.linspace(-1, 1, bands)
    phase = torch.pi * (band + _evenly(generator, n, 1, 1, 1))
    moved = moved + 0.12 * _evenly(generator, n, 1, 1, 1) * band
    moved = moved + 0.06 * _evenly(generator, n, 1, 1, 1) * torch.cos(phase)
    # Powers add up, and an image has their logarithms, 11.5 of which are mapped to 1.
    noise = 0.15 + 0.15 * _evenly(generator, n, 1, 1, 1)
    return (torch.logaddexp(11.5 * moved, 11.5 * noise) / 11.5).clamp(0, 1)


VIEWS_OF: Final[Mapping[str, Views]] = MappingProxyType(
    {"photographs": photographed, "speech": respoken}
)


def _evenly(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Draw evenly from -1 to 1."""
    return torch.rand(*shape, generator=generator) * 2 - 1
