"""A small convolutional encoder of grey images that masked-patch modelling pretrains, and its head.

What needs no data is fixed and what needs many images is learnt on public ones, so that private
training has few directions to find and can afford their noise (Tramer and Boneh 2021, arXiv
2011.11660, for fixed filters):

1. Logarithms of the energies of oriented (Gabor) filters: edges and texture, whatever the contrast.
2. A convolutional trunk with GroupNorm on top of them, which predicts hidden patches.
3. A linear map of both, found on other views of the public images (`tacit.models.views`): it keeps
   the directions in which images differ and evens out those in which the views of one image do.
   That is linear discriminant analysis with every public image as a class of its own (Fisher 1936;
   for images as classes, Dosovitskiy et al. 2014, "Exemplar-CNN", arXiv 1406.6909).
"""

import math
from typing import Final

import torch
from torch import nn

from tacit.errors import ModelError
from tacit.models.architecture import zero_head
from tacit.models.views import VIEWS_OF, Views

KERNEL: Final = 9
ORIENTATIONS: Final = 8
GABORS: Final = ((5, 1.2, 3.0), (9, 2.2, 6.0))
"""Side, deviation of the envelope and wavelength of the filters, in pixels."""
FLOOR: Final = 0.1
"""Added to an energy before its logarithm, in standard deviations of the pixels."""
SMALLEST: Final = 16
"""Shortest side of an image: the filters must fit into it."""

ENERGY_GRID, TRUNK_GRID = 7, 4
"""Cells to a side over which energies and the trunk's channels are averaged."""
STRIDE: Final = 4
"""Pixels to a side for one output of the trunk."""

VIEWS: Final = 8
"""Views of a public image, the undistorted one among them."""
RANK: Final = 400
"""Principal components of the views among which the embedding is found."""
RIDGE: Final = 0.1
"""Added to the scatter within images, relative to its mean."""


def gabor_filters() -> torch.Tensor:
    """Return pairs of even and odd filters [2 * scales * orientations, 1, 9, 9] of unit norm."""
    filters = []
    for side, deviation, wavelength in GABORS:
        reach = side // 2
        steps = torch.arange(-reach, reach + 1.0)
        down, across = torch.meshgrid(steps, steps, indexing="ij")
        envelope = torch.exp(-(down.square() + across.square()) / (2 * deviation**2))
        for number in range(ORIENTATIONS):
            angle = math.pi * number / ORIENTATIONS
            phase = 2 * math.pi / wavelength * (across * math.cos(angle) + down * math.sin(angle))
            for wave in (torch.cos(phase), torch.sin(phase)):
                raw = envelope * wave
                # Without its mean a filter does not answer to brightness.
                flat = raw - envelope * (raw.sum() / envelope.sum())
                filters.append(nn.functional.pad(flat / flat.norm(), (KERNEL // 2 - reach,) * 4))
    return torch.stack(filters)[:, None]


class VisionModel(nn.Module):
    """Encoder and head for grey images [n, 1, height, width] with values in [0, 1].

    All that is taken from public images besides the trunk's weights lies in buffers and is saved
    with the weights. What the head sees has norm 1 or 0. The decoder serves pretraining only.

    Parameters
    ----------
    side
        Height and width of an image.
    outputs
        Number of scores.
    channels
        Width of the trunk, a multiple of 8.
    embedding
        Width of what the head sees.
    views
        Makes another view of each public image.
    """

    location: torch.Tensor
    scale: torch.Tensor
    filters: torch.Tensor
    map_location: torch.Tensor
    map_scale: torch.Tensor
    centre: torch.Tensor
    projection: torch.Tensor

    def __init__(
        self,
        side: tuple[int, int],
        outputs: int,
        channels: int,
        embedding: int,
        views: Views,
    ) -> None:
        super().__init__()
        self._views = views
        maps = len(GABORS) * ORIENTATIONS + 1
        halves = math.ceil(side[0] / 2) * math.ceil(side[1] / 2)
        width = (maps - 1) * ENERGY_GRID**2 + halves + channels * TRUNK_GRID**2
        self.register_buffer("location", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("filters", gabor_filters())
        self.register_buffer("map_location", torch.zeros(maps, 1, 1))
        self.register_buffer("map_scale", torch.ones(maps, 1, 1))
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("projection", nn.init.orthogonal_(torch.empty(width, embedding)))
        self.visible = nn.Conv2d(maps, channels, 3, padding=1)
        self.absent = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(8, channels)
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm3 = nn.GroupNorm(8, channels)
        self.decoder = nn.Conv2d(channels, STRIDE**2, 1)
        self.head = zero_head(embedding, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores [n, outputs] of images."""
        scores: torch.Tensor = self.head(self.embed(features))
        return scores

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Return what the head sees, [n, embedding], of norm 1."""
        return nn.functional.normalize((self._code(features) - self.centre) @ self.projection)

    def standardise(self, pool: torch.Tensor) -> None:
        """Take scales and the linear map from public images, with the trunk as it is."""
        with torch.no_grad():
            self.location.copy_(pool.mean())
            self.scale.copy_(pool.std().clamp(min=1e-6))
            maps = self._raw_maps(self.standardised(pool))
            self.map_location.copy_(maps.mean((0, 2, 3)).view(-1, 1, 1))
            self.map_scale.copy_(maps.std((0, 2, 3)).clamp(min=1e-6).view(-1, 1, 1))
            # The draws protect nobody: the images are public.
            generator = torch.Generator().manual_seed(0)
            views = [pool, *(self._views(pool, generator) for _ in range(VIEWS - 1))]
            codes = torch.stack([self._code(view) for view in views], 1).double()
            centre, projection = exemplar_map(codes, self.projection.shape[1])
            self.centre.copy_(centre)
            self.projection.copy_(projection)

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        """Return pixels with the pool's mean and standard deviation."""
        return (features - self.location) / self.scale

    def reconstruct(self, features: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """Predict standardised pixels from those where `masked` is 0; both [n, 1, h, w]."""
        maps = self._maps(self.standardised(features) * (1 - masked))
        patches = self.decoder(self._trunk(maps, masked))
        height, width = features.shape[-2:]
        return nn.functional.pixel_shuffle(patches, STRIDE)[..., :height, :width]

    def _raw_maps(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return log energies and, last, the image itself, at half the resolution."""
        padded = nn.functional.pad(pixels, (KERNEL // 2,) * 4, mode="reflect")
        answers = nn.functional.conv2d(padded, self.filters, stride=2)
        # Even and odd filter together: the energy does not depend on where in a wave a pixel lies.
        squares = answers[:, 0::2].square() + answers[:, 1::2].square()
        energies = torch.log((squares + 1e-4).sqrt() + FLOOR)
        return torch.cat([energies, nn.functional.avg_pool2d(pixels, 2, ceil_mode=True)], 1)

    def _maps(self, pixels: torch.Tensor) -> torch.Tensor:
        return (self._raw_maps(pixels) - self.map_location) / self.map_scale

    def _trunk(self, maps: torch.Tensor, masked: torch.Tensor | None = None) -> torch.Tensor:
        hidden = self.visible(maps)
        if masked is not None:
            hidden = hidden + self.absent(nn.functional.avg_pool2d(masked, 2, ceil_mode=True))
        hidden = nn.functional.gelu(self.norm2(self.conv2(nn.functional.gelu(self.norm1(hidden)))))
        return nn.functional.gelu(self.norm3(self.conv3(hidden)))

    def _code(self, features: torch.Tensor) -> torch.Tensor:
        """Return energies, image and trunk, averaged over cells and laid end to end [n, width]."""
        maps = self._maps(self.standardised(features))
        parts = (
            nn.functional.adaptive_avg_pool2d(maps[:, :-1], ENERGY_GRID),
            maps[:, -1:],
            nn.functional.adaptive_avg_pool2d(self._trunk(maps), TRUNK_GRID),
        )
        return torch.cat([part.flatten(1) for part in parts], 1)


def exemplar_map(codes: torch.Tensor, wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the linear map that sets images apart and not their views.

    Parameters
    ----------
    codes
        Codes [n, views, width] of the views of n images.
    wanted
        Number of directions.

    Returns
    -------
    centre : Tensor
        Mean code [width].
    projection : Tensor
        [width, wanted], directions in falling order of how much images differ in them, each with
        unit variance over the codes; zeros where there are fewer than wanted.
    """
    n, views, width = codes.shape
    centre = codes.mean((0, 1))
    flat = (codes - centre).reshape(-1, width)
    variances, axes = torch.linalg.eigh(flat.T @ flat / len(flat))
    rank = min(RANK, width, int((variances > 1e-9 * variances[-1]).sum()))
    axes = axes[:, -rank:]
    seen = (flat @ axes).view(n, views, rank)
    means = seen.mean(1)
    strayed = (seen - means[:, None]).reshape(-1, rank)
    within = strayed.T @ strayed / len(strayed)
    ridge = RIDGE * within.diagonal().mean() * torch.eye(rank, dtype=codes.dtype)
    whitener = torch.linalg.inv(torch.linalg.cholesky(within + ridge))
    between, turns = torch.linalg.eigh(whitener @ (means.T @ means / n) @ whitener.T)
    directions = axes @ whitener.T @ turns.flip(1)
    # Variance within images is 1 by now, all but for the ridge.
    directions = directions / (1 + between.flip(0).clamp(min=0)).sqrt()
    projection = torch.zeros(width, wanted, dtype=codes.dtype)
    kept = min(wanted, rank)
    projection[:, :kept] = directions[:, :kept]
    return centre, projection


class Vision:
    """Architecture of `VisionModel`.

    Parameters
    ----------
    channels
        Width of the trunk, a multiple of 8.
    embedding
        Width of what the head sees.
    views
        What its images are, which says what other views of them are: 'photographs' or 'speech'
        (spectrograms, frames downward and bands across).
    """

    name = "vision"

    def __init__(
        self, channels: int = 32, embedding: int = 256, views: str = "photographs"
    ) -> None:
        if channels < 8 or channels % 8:
            raise ModelError(
                f"model.architecture.channels={channels} must be a multiple of 8: GroupNorm "
                f"divides them into 8 groups"
            )
        if views not in VIEWS_OF:
            raise ModelError(
                f"model.architecture.views={views} must be one of {', '.join(VIEWS_OF)}"
            )
        self.channels = channels
        self.embedding = embedding
        self.views = views

    def build(self, inputs: tuple[int, ...], outputs: int) -> VisionModel:
        """Return a new module for images of shape (1, height, width).

        Raises
        ------
        ModelError
            The domain's examples are not grey images, or too small.
        """
        if len(inputs) != 3 or inputs[0] != 1 or min(inputs[1:]) < SMALLEST:
            raise ModelError(
                f"model=vision takes grey images (1, height, width) of at least {SMALLEST} pixels "
                f"to a side, but this domain's examples have the shape {inputs}: choose another "
                f"model"
            )
        return VisionModel(
            (inputs[1], inputs[2]), outputs, self.channels, self.embedding, VIEWS_OF[self.views]
        )
