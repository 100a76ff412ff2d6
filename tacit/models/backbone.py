"""A pretrained backbone of anybody's with our head on it."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, cast

import torch
from torch import nn

from tacit.models.architecture import zero_head
from tacit.models.linear import LinearModel
from tacit.models.mended import expand_positions
from tacit.models.reading import More, Reader, Reading
from tacit.models.trainable import Train

AT_ONCE = 128
"""Examples of one pass of a frozen backbone."""


class Backbone(Protocol):
    """What a `nn.Module` must have to stand under our head."""

    def __call__(self, examples: torch.Tensor) -> torch.Tensor:
        """Return embeddings [n, width] of examples [n, ...] as its preparation makes them."""
        ...

    def made_up(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Make up examples [count, ...] that it may be given."""
        ...


class Exportable(Backbone, Protocol):
    """A backbone that can be written as its library writes its own models."""

    @property
    def library(self) -> str:
        """Name of the library, as hubs know it."""
        ...

    @property
    def free(self) -> Mapping[str, tuple[int, ...]]:
        """What the library's model is given, and which dimensions of each may have any length."""
        ...

    def named(self, examples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what the library's model is given for prepared examples, as `free` names it."""
        ...

    def embed(self, *given: torch.Tensor) -> torch.Tensor:
        """Return embeddings [n, width] of what `named` returns."""
        ...

    def save(self, prepare: Reader, folder: Path) -> str:
        """Write the library's own model, nothing mended left in it, and all that it needs.

        Returns
        -------
        str
            How it is used, beside the head in ``head.safetensors``: Python that defines ``scores``.
        """
        ...

    def loaded(self, folder: Path) -> Self:
        """Return the backbone anew, from what `save` has written."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """What the head is.

    Parameters
    ----------
    bias
        Whether it has one. Its gradient is that of the scores, and on embeddings of length 1 as
        long as that of all weights together: clipping then halves what is left of either.
    start
        Weights [outputs, width] that it starts from; None for zeros.
    """

    bias: bool = True
    start: torch.Tensor | None = None

    def build(self, width: int, outputs: int) -> nn.Linear:
        """Return a new head of embeddings [n, width]."""
        head = zero_head(width, outputs, bias=self.bias)
        if self.start is not None:
            with torch.no_grad():
                head.weight.copy_(self.start)
        return head


class BackboneModel(nn.Module):
    """A backbone and a head.

    Parameters
    ----------
    backbone
        A module that is a `Backbone`.
    width
        Of what it gives the head.
    outputs
        Number of scores.
    head
        What the head is.
    """

    def __init__(self, backbone: nn.Module, width: int, outputs: int, head: Head) -> None:
        super().__init__()
        expand_positions(backbone)
        self.backbone = backbone
        self.head = head.build(width, outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return scores [n, outputs]."""
        scores: torch.Tensor = self.head(self.backbone(features))
        return scores

    def made_up(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Make up examples [count, ...] that the backbone may be given."""
        return cast(Backbone, self.backbone).made_up(count, generator)


@dataclass(frozen=True, slots=True)
class WholeModel:
    """Architecture of a `BackboneModel`, whose pretrained weights it brings."""

    name: str
    backbone: nn.Module
    width: int
    head: Head

    def build(self, inputs: tuple[int, ...], outputs: int) -> nn.Module:
        """Return a new module."""
        return BackboneModel(copy.deepcopy(self.backbone), self.width, outputs, self.head)


@dataclass(frozen=True, slots=True)
class HeadAlone:
    """Architecture of the head, where the backbone has read the examples before."""

    name: str
    head: Head

    def build(self, inputs: tuple[int, ...], outputs: int) -> nn.Module:
        """Return a new module for embeddings of shape `inputs`."""
        model = LinearModel(inputs[0], outputs)
        model.head = self.head.build(inputs[0], outputs)
        return model


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A reader that goes through a frozen backbone.

    Parameters
    ----------
    prepare
        What the backbone needs done to an example.
    backbone
        On `device`.
    width
        Of an embedding.
    lengths
        Gives how long each prepared example is, of those that are padded at their end; None where
        all are alike. Examples of one length go through together and without their padding, so
        that none's embedding depends on the others'.
    """

    prepare: Reader
    backbone: nn.Module
    width: int
    device: torch.device
    lengths: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of an embedding."""
        return (self.width,)

    def __call__(self, features: torch.Tensor, more: More) -> torch.Tensor:
        """Return embeddings float32 [n, width]."""
        prepared = self.prepare(features, lambda count: None)
        found = torch.zeros(len(prepared), self.width)
        self.backbone.eval()
        for rows, length in self._passes(prepared):
            part = prepared[rows]
            with torch.no_grad():
                seen = self.backbone((part if length is None else part[:, :length]).to(self.device))
            found[rows] = seen.float().cpu()
            more(len(rows))
        return found

    def _passes(self, prepared: torch.Tensor) -> list[tuple[torch.Tensor, int | None]]:
        every = torch.arange(len(prepared))
        if self.lengths is None:
            return [(rows, None) for rows in torch.split(every, AT_ONCE) if len(rows)]
        lengths = self.lengths(prepared)
        return [
            (rows, length)
            for length in sorted(set(lengths.tolist()))
            for rows in torch.split(every[lengths == length], AT_ONCE)
        ]


def reading_through(
    name: str,
    prepare: Reader,
    backbone: nn.Module,
    train: Train,
    device: torch.device,
    sha256: str,
    description: str,
    *,
    width: int,
    head: Head,
    lengths: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Reading:
    """Return how examples are read: through the backbone, where it does not train."""
    if train is Train.HEAD:
        through = Embeddings(prepare, backbone.to(device), width, device, lengths)
        return Reading(through, HeadAlone(name, head), sha256, description)
    return Reading(prepare, WholeModel(name, backbone, width, head), sha256, description)
