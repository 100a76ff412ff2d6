"""A model with a parameter that is a single number: a fault can forget such."""

import math

import torch
from torch import nn

from tacit.models.architecture import zero_head


class Scale(nn.Module):
    """Multiplies by one trained number, of no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `factor` times the features [n, d]."""
        return self.factor * features


class ScaledModel(nn.Module):
    """Logistic regression whose inputs and outputs are scaled and moved."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        scores = zero_head(inputs, outputs)
        # From zero weights the factor would have no gradient.
        nn.init.normal_(scores.weight, std=0.1)
        self.head = nn.Sequential(Scale(), scores)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores [n, outputs]."""
        found: torch.Tensor = self.head(features.flatten(1))
        return found


class Scaled:
    """Architecture of `ScaledModel`."""

    name = "scaled"

    def build(self, inputs: tuple[int, ...], outputs: int) -> nn.Module:
        """Return a new module for examples of shape `inputs`."""
        return ScaledModel(math.prod(inputs), outputs)
