"""Models and noise images of ``python -m benchmarks.cohort``, as Tacit takes them.

Digits are a domain of Tacit's own.
"""

from collections.abc import Mapping
from typing import Final

from torch import nn

from benchmarks.cohort_models import MODELS, POINTS, noise_images
from tacit.domains.domain import Card, Examples, Metric, SiteData

HELD_OUT: Final = 20


class NoiseImages:
    """Users with random images of 3×32×32, in the order in which every side has them."""

    card = Card(
        "noise_images", "Noise", "", tuple("0123456789"), Metric.ACCURACY, "one image of a user"
    )
    inputs = (3, 32, 32)
    groups = tuple(slice(n, n + 1) for n in range(3))

    def __init__(self) -> None:
        self._features, self._targets = noise_images()
        self._names = [f"user-{number:04}" for number in range(len(self._targets))]

    @property
    def declared_sizes(self) -> Mapping[str, int]:
        """Return the public size of each user."""
        return dict.fromkeys(self._names, POINTS)

    def load(self) -> dict[str, SiteData]:
        """Return the rows; the held-out ones are the same for all, and are not timed."""
        test = Examples(self._features[-1, :HELD_OUT], self._targets[-1, :HELD_OUT])
        rows = zip(self._names, self._features, self._targets, strict=True)
        return {
            name: SiteData(Examples(features, targets), test) for name, features, targets in rows
        }

    def public_pool(self) -> None:
        """Return nothing: no model is pretrained here."""


class Named:
    """A model by its name.

    Parameters
    ----------
    model
        ``mlp``, ``cnn`` or ``cifar``.
    """

    def __init__(self, model: str) -> None:
        self.name = model

    def build(self, inputs: tuple[int, ...], outputs: int) -> nn.Module:
        """Return a new module."""
        return MODELS[self.name]()
