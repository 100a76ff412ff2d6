"""Federated averaging without processes or ledgers, as quick as a search over settings needs it."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning.local import Compute, train_round
from tacit.learning.plan import RoundPlan
from tacit.models.trainable import Weights, load_trainable, trainable_weights
from tacit.privacy.calibration import noise_multiplier
from tacit.privacy.randomness import Stream


@dataclass(frozen=True, slots=True)
class Setting:
    """One point of a grid; without privacy nothing is clipped."""

    rounds: int
    learning_rate: float
    clipping_norm: float | None


def grid(
    rounds: Sequence[int], rates: Sequence[float], clips: Sequence[float | None]
) -> tuple[Setting, ...]:
    """Return every combination."""
    return tuple(Setting(*point) for point in itertools.product(rounds, rates, clips))


def federated(
    model: nn.Module,
    rows: Mapping[str, Examples],
    sizes: Mapping[str, int],
    setting: Setting,
    epsilon: float,
    delta: float,
    seed: int,
    shares: int = 1,
) -> Weights:
    """Train from zero weights and return what comes out.

    Each round is one full-batch step at every site, and the mean of their models weighted by
    declared sizes.

    Parameters
    ----------
    model
        With its trainable weights chosen; they change.
    rows, sizes
        Training rows and declared size of each site.
    setting
        Rounds, step size and clipping norm.
    epsilon, delta
        Budget at every site, where something is clipped.
    seed
        Fixes the noise.
    shares
        How many sites' noise together is the budget's: 1 where each site's own is. Noise on a grid
        is so near the Gaussian here that settings do not depend on the difference.
    """
    sigma = None
    if setting.clipping_norm is not None:
        sigma = noise_multiplier(epsilon, delta, 1.0, setting.rounds) / shares**0.5
    total = sum(sizes.values())
    weights = {name: np.zeros_like(array) for name, array in trainable_weights(model).items()}
    for number in range(1, setting.rounds + 1):
        replies = []
        for site, examples in rows.items():
            load_trainable(model, weights)
            size = sizes[site]
            train_round(
                model,
                examples,
                RoundPlan(1, 1.0, float(size), setting.learning_rate, setting.clipping_norm, sigma),
                coins=Stream.seeded(seed, site, number, "coins"),
                noise=Stream.seeded(seed, site, number, "noise"),
                layers=Stream.seeded(seed, site, number, "layers"),
                compute=Compute(torch.device("cpu")),
            )
            replies.append((size / total, trainable_weights(model)))
        weights = {
            name: np.sum([share * reply[name] for share, reply in replies], axis=0)
            for name in weights
        }
    return weights
