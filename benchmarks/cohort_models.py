"""Models and rows of ``python -m benchmarks.cohort``: the same on every side.

Nothing but torch and scikit-learn is imported, so that the others' environments can use it.
"""

from typing import Final

import torch
from torch import nn

USERS: Final = 1000
COHORT: Final = 50
POINTS: Final = 50
"""Rows of a user."""
BATCH: Final = 10
RATE: Final = 0.1
"""Learning rate of plain gradient descent."""


def mlp() -> nn.Sequential:
    """Make the perceptron 64-128-10."""
    return _ending_in(nn.Linear(128, 10), nn.Linear(64, 128), nn.ReLU())


def cnn() -> nn.Sequential:
    """Make two convolutions and two dense layers for images of 8×8."""
    return _ending_in(
        nn.Linear(64, 10),
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
    )


def cifar() -> nn.Sequential:
    """Make the network of pfl's CIFAR10 benchmark, 1.6 M weights, without its dropout.

    With dropout there would be nothing to choose from: sites would be trained one after another.
    """
    return _ending_in(
        nn.Linear(128, 10),
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12_544, 128),
        nn.ReLU(),
    )


def _ending_in(head: nn.Module, *layers: nn.Module) -> nn.Sequential:
    model = nn.Sequential(*layers)
    model.add_module("head", head)
    return model


MODELS: Final = {"mlp": mlp, "cnn": cnn, "cifar": cifar}


def rows_of(model: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the rows of every user for a model: features [users, 50, ...], targets [users, 50]."""
    return noise_images() if model == "cifar" else digits()


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Draw each user's rows at random from scikit-learn's digits."""
    from sklearn.datasets import load_digits

    features, targets = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(targets), (USERS, POINTS), generator=generator)
    return torch.from_numpy(features / 16).float()[drawn], torch.from_numpy(targets)[drawn]


def noise_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Draw images of 3×32×32 and their classes at random, for a tenth of the users."""
    users = USERS // 10
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(users, POINTS, 3, 32, 32, generator=generator)
    return features, torch.randint(10, (users, POINTS), generator=generator)
