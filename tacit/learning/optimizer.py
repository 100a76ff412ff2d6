"""What a site makes of the gradient of a step: plain descent, momentum, or Adam.

It comes after clipping and noise, and so is post-processing: it costs nothing, whatever it does.
Its state begins anew in every round and ends with it.
"""

from typing import Final, Protocol

import torch

from tacit.learning.plan import LocalOptimizer

MOMENTUM: Final = 0.9
"""Share of the last direction that stays; β₁ of Adam."""
SECOND: Final = 0.999
"""β₂ of Adam."""
SMALLEST: Final = 1e-8
"""ε of Adam: not privacy's."""


class Direction(Protocol):
    """Turns one step's gradients into that by which weights change, before the learning rate."""

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the direction for a gradient of any shape; each step has one call."""
        ...


def direction(optimizer: LocalOptimizer) -> Direction:
    """Return the optimizer's directions for one tensor of weights in one round."""
    match optimizer:
        case LocalOptimizer.SGD:
            return _plain
        case LocalOptimizer.MOMENTUM:
            return _Momentum()
        case LocalOptimizer.ADAM:
            return _Adam()


def _plain(gradient: torch.Tensor) -> torch.Tensor:
    return gradient


class _Momentum:
    """Polyak's heavy ball: v ← 0.9 v + g (Sutskever et al. 2013, as torch's SGD has it)."""

    def __init__(self) -> None:
        self._velocity: torch.Tensor | None = None

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        if self._velocity is None:
            self._velocity = gradient.clone()
        else:
            self._velocity.mul_(MOMENTUM).add_(gradient)
        return self._velocity


class _Adam:
    """Algorithm 1 of Kingma and Ba 2015, arXiv 1412.6980."""

    def __init__(self) -> None:
        self._steps = 0
        self._first: torch.Tensor | None = None
        self._second: torch.Tensor | None = None

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        self._steps += 1
        if self._first is None or self._second is None:
            self._first, self._second = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self._first.lerp_(gradient, 1 - MOMENTUM)
        self._second.mul_(SECOND).addcmul_(gradient, gradient, value=1 - SECOND)
        first = self._first / (1 - MOMENTUM**self._steps)
        second = self._second / (1 - SECOND**self._steps)
        return first / (second.sqrt() + SMALLEST)
