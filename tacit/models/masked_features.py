"""Masked modelling of tables and images.

A block is a column of a table (Yoon et al. 2020, "VIME", NeurIPS, section 4.1, without its
mask-estimation task) or a patch of an image (He et al. 2022, "Masked autoencoders are scalable
vision learners", CVPR, section 3).
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from tacit.errors import ConfigurationError, ModelError
from tacit.models.architecture import Pretrainable


def kind_of(shape: Sequence[int]) -> str:
    """Name the kind of modelling for examples of a shape, in the words of a report."""
    return "masked-feature modelling" if len(shape) == 1 else "masked-patch modelling"


def blocks_of(shape: Sequence[int], groups: Sequence[slice], patch: int | None) -> torch.Tensor:
    """Say which features of an example are hidden together.

    Parameters
    ----------
    shape
        Of one example: (width,) for a table, (..., height, width) for an image.
    groups
        A table's columns.
    patch
        Side of an image's patches; those at the right and lower edge may be smaller.

    Returns
    -------
    Tensor
        int64 of that shape: the number of the block, counted from 0 without gaps.

    Raises
    ------
    ConfigurationError
        An image without `patch`, or a table with one.
    """
    if len(shape) == 1:
        if patch is not None:
            raise ConfigurationError(
                f"model.pretraining.patch={patch}: rows of a table have no patches: set it to null"
            )
        blocks = torch.zeros(shape[0], dtype=torch.int64)
        for column, group in enumerate(groups):
            blocks[group] = column
        return blocks
    if patch is None:
        raise ConfigurationError(
            "model.pretraining.patch=null: images are hidden by patches: set the side of a patch "
            "in pixels, 4 for example"
        )
    down, across = (torch.arange(side) // patch for side in shape[-2:])
    return (down[:, None] * (across[-1] + 1) + across).expand(*shape)


class MaskedFeatures:
    """Squared error of the hidden features, on standardised examples: an `Objective`.

    Parameters
    ----------
    model
        A module that implements `Pretrainable`.
    pool
        Public examples [n, ...].
    blocks
        Which features of an example are hidden together, int64 [...]: see `blocks_of`.

    Raises
    ------
    ModelError
        The model has nothing to pretrain.
    """

    def __init__(self, model: nn.Module, pool: torch.Tensor, blocks: torch.Tensor) -> None:
        if not hasattr(model, "reconstruct"):
            raise ModelError(
                f"{type(model).__name__} cannot be pretrained by {kind_of(blocks.shape)}: choose "
                f"model={'tabular' if blocks.dim() == 1 else 'vision'}"
            )
        self.model = model
        self.examples = len(pool)
        self.blocks = int(blocks.max()) + 1
        self._learner = cast(Pretrainable, model)
        self._pool = pool
        self._blocks = blocks

    def measure(self) -> None:
        """Take scale and location of the features and their code."""
        self._learner.standardise(self._pool)

    def loss(self, rows: torch.Tensor | slice, hidden: torch.Tensor) -> torch.Tensor:
        """Return the mean squared error of what is hidden."""
        seen = self._pool[rows]
        masked = hidden[:, self._blocks].to(self._pool.dtype)
        wanted = self._learner.standardised(seen)
        error = (self._learner.reconstruct(seen, masked) - wanted).square() * masked
        return error.sum() / masked.sum().clamp(min=1)
