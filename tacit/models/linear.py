"""Multinomial logistic regression: a head and nothing else, started from zero weights."""

import math

import torch
from torch import nn

from tacit.models.architecture import zero_head


class LinearModel(nn.Module):
    """Scores [n, classes] as a linear function of flattened examples [n, ...]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.head = zero_head(inputs, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores [n, outputs]."""
        scores: torch.Tensor = self.head(features.flatten(1))
        return scores


class Linear:
    """Architecture of `LinearModel`."""

    name = "linear"

    def build(self, inputs: tuple[int, ...], outputs: int) -> nn.Module:
        """Return a new module for examples of shape `inputs`."""
        return LinearModel(math.prod(inputs), outputs)
