"""Masked modelling: learn the structure of tables or images from unlabelled public examples.

A random part of the blocks of each example is hidden and the model predicts it from the rest. A
block is a column of a table (Yoon et al. 2020, "VIME", NeurIPS, section 4.1, without its
mask-estimation task) or a patch of an image (He et al. 2022, "Masked autoencoders are scalable
vision learners", CVPR, section 3).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import torch
from torch import nn

from tacit.errors import ConfigurationError, ModelError
from tacit.models.architecture import Pretrainable
from tacit.models.trainable import Weights
from tacit.models.weights import load_state, state_arrays


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


@dataclass(frozen=True, slots=True)
class State:
    """Where a pretraining stands between two steps: with it, it goes on to the same bits.

    No state of a generator is in it: the draws of the steps done are made again.

    Parameters
    ----------
    steps
        Number of steps done.
    losses
        Loss of each of them, and of later ones where the pretraining has gone on since.
    weights
        Every parameter and buffer of the model.
    optimiser
        Adam's arrays, by ``PARAMETER/ARRAY``.
    """

    steps: int
    losses: Sequence[float]
    weights: Weights
    optimiser: Weights


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
    start: State | None = None,
    on_state: Callable[[State], None] | None = None,
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
    start
        What `on_state` was given in an earlier call with equal arguments, to go on from there; the
        end is the same to the bit.
    on_state
        Called before `on_step` with a copy of where the pretraining stands.

    Raises
    ------
    ModelError
        The model has nothing to pretrain, or `start` belongs to another one.
    """
    if not hasattr(model, "reconstruct"):
        raise ModelError(
            f"{type(model).__name__} cannot be pretrained by {kind_of(blocks.shape)}: choose "
            f"model={'tabular' if blocks.dim() == 1 else 'vision'}"
        )
    learner = cast(Pretrainable, model)
    trained = {n: p for n, p in model.named_parameters() if not n.startswith("head.")}
    optimiser = torch.optim.Adam(trained.values(), lr=settings.learning_rate)
    losses: list[float] = []
    if start is None:
        learner.standardise(pool)
    else:
        load_state(model, start.weights, "the state to go on from")
        _load_optimiser(optimiser, trained, start.optimiser)
        losses += start.losses[: start.steps]
    draws = _draws(len(pool), int(blocks.max()) + 1, settings, seed)
    for rows, hidden in islice(draws, len(losses), None):
        seen = pool[rows]
        masked = hidden[:, blocks].to(pool.dtype)
        wanted = learner.standardised(seen)
        error = (learner.reconstruct(seen, masked) - wanted).square() * masked
        loss = error.sum() / masked.sum().clamp(min=1)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
        if on_state is not None:
            arrays = _optimiser_arrays(optimiser, trained)
            on_state(State(len(losses), losses, state_arrays(model), arrays))
        on_step(len(losses), losses[-1])
    learner.standardise(pool)
    return losses


def _draws(
    examples: int, blocks: int, settings: Pretraining, seed: int
) -> Iterator[tuple[torch.Tensor | slice, torch.Tensor]]:
    """Draw each step's examples, and which blocks of each are hidden, bool [batch, blocks]."""
    coins = torch.Generator().manual_seed(seed)
    for _ in range(settings.steps):
        rows: torch.Tensor | slice = slice(None)
        batch = examples
        if settings.batch_size is not None:
            rows = torch.randperm(examples, generator=coins)[: settings.batch_size]
            batch = len(rows)
        yield rows, torch.rand(batch, blocks, generator=coins) < settings.masked_share


def _optimiser_arrays(
    optimiser: torch.optim.Optimizer, trained: dict[str, nn.Parameter]
) -> Weights:
    return {
        f"{name}/{key}": tensor.numpy().copy()
        for name, parameter in trained.items()
        for key, tensor in optimiser.state[parameter].items()
    }


def _load_optimiser(
    optimiser: torch.optim.Optimizer, trained: dict[str, nn.Parameter], arrays: Weights
) -> None:
    for place, array in arrays.items():
        name, _, key = place.rpartition("/")
        optimiser.state[trained[name]][key] = torch.from_numpy(array.copy())
