"""Masked modelling: learn the structure of unlabelled public examples.

A random part of the blocks of each example is hidden and the model predicts it from the rest. What
a block is, and what a prediction is held against, an `Objective` says: columns of tables and
patches of images (`tacit.models.masked_features`), tokens of texts (`tacit.models.masked_tokens`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import torch
from torch import nn

from tacit.errors import ConfigurationError
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


class Objective(Protocol):
    """What a model learns from public examples: to predict the blocks of them that are hidden.

    A block is the smallest part that is hidden or seen as a whole.
    """

    @property
    def model(self) -> nn.Module:
        """Module that trains, all of it but a part called ``head``."""
        ...

    @property
    def examples(self) -> int:
        """How many public examples there are."""
        ...

    @property
    def blocks(self) -> int:
        """How many blocks an example has."""
        ...

    def measure(self) -> None:
        """Take what the model keeps of the examples as a whole: before the steps, and after."""
        ...

    def loss(self, rows: torch.Tensor | slice, hidden: torch.Tensor) -> torch.Tensor:
        """Return the loss of some examples [n] whose blocks are `hidden`, bool [n, blocks]."""
        ...


def pretrain(
    objective: Objective,
    settings: Pretraining,
    seed: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    start: State | None = None,
    on_state: Callable[[State], None] | None = None,
) -> list[float]:
    """Pretrain a model in place on public examples and return the loss of every step.

    Parameters
    ----------
    objective
        The model, the examples, and what is to be predicted of them.
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
        `start` belongs to another model.
    """
    model = objective.model
    trained = {n: p for n, p in model.named_parameters() if not n.startswith("head.")}
    optimiser = torch.optim.Adam(trained.values(), lr=settings.learning_rate)
    losses: list[float] = []
    if start is None:
        objective.measure()
    else:
        load_state(model, start.weights, "the state to go on from")
        _load_optimiser(optimiser, trained, start.optimiser)
        losses += start.losses[: start.steps]
    draws = _draws(objective.examples, objective.blocks, settings, seed)
    for rows, hidden in islice(draws, len(losses), None):
        loss = objective.loss(rows, hidden)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
        if on_state is not None:
            arrays = _optimiser_arrays(optimiser, trained)
            on_state(State(len(losses), losses, state_arrays(model), arrays))
        on_step(len(losses), losses[-1])
    objective.measure()
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
