"""The rows and models of ``python -m benchmarks.cohort`` as a domain and architectures of Tacit."""

from collections.abc import Mapping
from typing import Final

from torch import nn

from benchmarks.cohort_models import MODELS, rows_of
from tacit.domains.domain import Card, Examples, Metric, SiteData

HELD_OUT: Final = 20


class Users:
    """Users with the rows of a model, in the order in which every side has them.

    Parameters
    ----------
    model
        ``mlp``, ``cnn`` or ``cifar``.
    sites
        How many of the users there are.
    """

    card = Card(
        "cohort", "Many users", "", tuple("0123456789"), Metric.ACCURACY, "one image of a user"
    )

    def __init__(self, model: str, sites: int) -> None:
        self._features, self._targets = rows_of(model)
        self._names = [f"user-{number:04}" for number in range(sites)]
        self.inputs = tuple(self._features.shape[2:])
        self.groups = tuple(slice(n, n + 1) for n in range(self._features[0, 0].numel()))

    @property
    def declared_sizes(self) -> Mapping[str, int]:
        """Return the public size of each user."""
        return dict.fromkeys(self._names, self._features.shape[1])

    def load(self) -> dict[str, SiteData]:
        """Return the rows; the held-out ones are the same for all, and are not timed."""
        test = Examples(self._features[-1, :HELD_OUT], self._targets[-1, :HELD_OUT])
        return {
            name: SiteData(Examples(features, targets), test)
            for name, features, targets in zip(
                self._names, self._features, self._targets, strict=False
            )
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
