"""Masked-feature modelling: learn a table's structure from unlabelled public rows.

A random part of the columns of each row is hidden and the model predicts it from the rest (for
tables: Yoon et al. 2020, "VIME", NeurIPS, section 4.1, without its mask-estimation task).
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
    """Settings of masked-feature modelling.

    Parameters
    ----------
    steps
        Number of full-batch optimiser steps.
    learning_rate
        Adam's step size.
    masked_share
        Probability with which a column of a row is hidden.
    """

    steps: int = 600
    learning_rate: float = 3e-3
    masked_share: float = 0.3

    def __post_init__(self) -> None:
        for key, usable in (
            ("steps", self.steps >= 1),
            ("learning_rate", 0 < self.learning_rate < math.inf),
            ("masked_share", 0 < self.masked_share < 1),
        ):
            if not usable:
                raise ConfigurationError(
                    f"model.pretraining.{key}={getattr(self, key)} is out of range"
                )


def pretrain(
    model: nn.Module,
    pool: torch.Tensor,
    groups: Sequence[slice],
    settings: Pretraining,
    seed: int,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> list[float]:
    """Pretrain a model in place on public rows and return the loss of every step.

    Parameters
    ----------
    model
        A module that implements `Pretrainable`.
    pool
        Public rows [n, width].
    groups
        Which features belong to one column: a column is hidden as a whole.
    settings
        How long and how.
    seed
        Fixes the masks. They protect nobody: the rows are public.
    on_step
        Called with the number of steps done and the loss of the last one.

    Raises
    ------
    ModelError
        The model has nothing to pretrain.
    """
    if not hasattr(model, "reconstruct"):
        raise ModelError(
            f"{type(model).__name__} cannot be pretrained by masked-feature modelling: "
            f"choose model=tabular"
        )
    learner = cast(Pretrainable, model)
    coins = torch.Generator().manual_seed(seed)
    learner.standardise(pool)
    wanted = learner.standardised(pool)
    column_of = torch.zeros(pool.shape[1], dtype=torch.int64)
    for column, group in enumerate(groups):
        column_of[group] = column
    optimiser = torch.optim.Adam(
        [p for name, p in model.named_parameters() if not name.startswith("head.")],
        lr=settings.learning_rate,
    )
    losses = []
    for step in range(1, settings.steps + 1):
        hidden = torch.rand(len(pool), len(groups), generator=coins) < settings.masked_share
        masked = hidden[:, column_of].to(pool.dtype)
        error = (learner.reconstruct(pool, masked) - wanted).square() * masked
        loss = error.sum() / masked.sum().clamp(min=1)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
        on_step(step, losses[-1])
    return losses
