"""Masked modelling: learn the structure of tables or images from unlabelled public examples.

A random part of the blocks of each example is hidden and the model predicts it from the rest. A
block is a column of a table (Yoon et al. 2020, "VIME", NeurIPS, section 4.1, without its
mask-estimation task) or a patch of an image (He et al. 2022, "Masked autoencoders are scalable
vision learners", CVPR, section 3).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from tacit.errors import ConfigurationError, ModelError
from tacit.models.architecture import Pretrainable


@dataclass(frozen=True, slots=True)
class Pretraining:
    """Settings of masked modelling.

    Parameters
    ----------
    steps
        Number of optimiser steps.
    learning_rate
        Adam's step size.
    masked_share
        Probability with which a block of an example is hidden.
    batch_size
        Examples of a step, drawn without replacement, or None for all.
    patch
        Side of an image's patches in pixels; None for tables.
    """

    steps: int = 600
    learning_rate: float = 3e-3
    masked_share: float = 0.3
    batch_size: int | None = None
    patch: int | None = None

    def __post_init__(self) -> None:
        for key, usable in (
            ("steps", self.steps >= 1),
            ("learning_rate", 0 < self.learning_rate < math.inf),
            ("masked_share", 0 < self.masked_share < 1),
            ("batch_size", self.batch_size is None or self.batch_size >= 1),
            ("patch", self.patch is None or self.patch >= 1),
        ):
            if not usable:
                raise ConfigurationError(
                    f"model.pretraining.{key}={getattr(self, key)} is out of range"
                )


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


def pretrain(
    model: nn.Module,
    pool: torch.Tensor,
    blocks: torch.Tensor,
    settings: Pretraining,
    seed: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> list[float]:
    """Pretrain a model in place on public examples and return the loss of every step.

    Parameters
    ----------
    model
        A module that implements `Pretrainable`.
    pool
        Public examples [n, ...].
    blocks
        Which features of an example are hidden together, int64 [...]: see `blocks_of`.
    settings
        How long and how.
    seed
        Fixes batches and masks. They protect nobody: the examples are public.
    on_step
        Called with the number of steps done and the loss of the last one.

    Raises
    ------
    ModelError
        The model has nothing to pretrain.
    """
    if not hasattr(model, "reconstruct"):
        raise ModelError(
            f"{type(model).__name__} cannot be pretrained by {kind_of(blocks.shape)}: choose "
            f"model={'tabular' if blocks.dim() == 1 else 'vision'}"
        )
    learner = cast(Pretrainable, model)
    coins = torch.Generator().manual_seed(seed)
    learner.standardise(pool)
    count = int(blocks.max()) + 1
    optimiser = torch.optim.Adam(
        [p for name, p in model.named_parameters() if not name.startswith("head.")],
        lr=settings.learning_rate,
    )
    losses = []
    for step in range(1, settings.steps + 1):
        seen = pool
        if settings.batch_size is not None:
            seen = pool[torch.randperm(len(pool), generator=coins)[: settings.batch_size]]
        hidden = torch.rand(len(seen), count, generator=coins) < settings.masked_share
        masked = hidden[:, blocks].to(pool.dtype)
        wanted = learner.standardised(seen)
        error = (learner.reconstruct(seen, masked) - wanted).square() * masked
        loss = error.sum() / masked.sum().clamp(min=1)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
        on_step(step, losses[-1])
    learner.standardise(pool)
    return losses
