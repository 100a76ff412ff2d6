"""Where only the head trains: what the frozen part makes of each example, computed once.

Features are as private as the rows that they come from. They are held where the rows are, are never
sent or written, and go with the run.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from tacit.domains.domain import Examples
from tacit.learning.local import Compute
from tacit.learning.stacked.trial import random_layer
from tacit.models.architecture import made_up_examples
from tacit.models.compatibility import untouched

_AT_ONCE: Final = 256
"""Examples in one pass of the frozen part."""
_SLACK: Final = 1e-4
"""Largest difference between features of a batch and of its examples alone, relative."""


@dataclass(frozen=True, slots=True)
class Split:
    """A model as a frozen part and the head that trains on top of it.

    Parameters
    ----------
    prefix
        Name of the head in the model.
    head
        Maps features to scores; its weights are the model's.
    inputs
        Shape of one example's features.
    """

    model: nn.Module
    prefix: str
    head: nn.Module
    inputs: tuple[int, ...]

    def features(self, rows: Examples, compute: Compute) -> Examples:
        """Compute what the head sees of rows; an unusable row stays unusable (NaN)."""
        usable = torch.isfinite(rows.features).flatten(1).all(1)
        found = []
        self.model.train()
        for start in range(0, max(len(rows), 1), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            own = usable[part].view(-1, *[1] * (rows.features.dim() - 1))
            clean = torch.where(own, rows.features[part], 0).to(compute.device)
            seen, _ = _seen_by(self.model, self.head, clean)
            found.append(seen.float())
        features = torch.cat(found)
        features[~usable.to(compute.device)] = torch.nan
        return Examples(features, rows.targets.to(compute.device), rows.persons)


def split(model: nn.Module, inputs: tuple[int, ...], compute: Compute) -> Split | None:
    """Find the head of a model, if nothing else trains and features may be kept.

    They may where the frozen part draws no random numbers, treats each example by itself, and the
    head's scores are the model's. All three are tried on made-up examples.
    """
    if compute.precision != torch.float32:
        return None  # the head would see other roundings
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    prefix = _common_parent(trainable)
    if not prefix or random_layer(model):
        return None
    head = model.get_submodule(prefix)
    examples = made_up_examples(model, 3, inputs, torch.Generator().manual_seed(0))
    examples = examples.to(compute.device)
    model.train()
    with untouched(model):
        try:
            together, whole = _seen_by(model, head, examples)
            alone = torch.cat([_seen_by(model, head, one.unsqueeze(0))[0] for one in examples])
        except (_NoHeadError, RuntimeError, ValueError):
            return None
    if not whole or len(together) != 3 or together.shape != alone.shape:
        return None
    if (together - alone).abs().max() > _SLACK * together.abs().max():
        return None
    return Split(model, prefix, head, tuple(together.shape[1:]))


class _NoHeadError(Exception):
    """The head is not called once with one tensor."""


def _seen_by(
    model: nn.Module, head: nn.Module, examples: torch.Tensor
) -> tuple[torch.Tensor, bool]:
    """Return what the head is given, and whether what it gives is what the model gives."""
    calls: list[tuple[tuple[object, ...], object]] = []
    hook = head.register_forward_hook(lambda _, given, made: calls.append((given, made)))
    try:
        with torch.no_grad():
            scores = model(examples)
    finally:
        hook.remove()
    if len(calls) != 1:
        raise _NoHeadError
    given, made = calls[0]
    if len(given) != 1 or not isinstance(given[0], torch.Tensor):
        raise _NoHeadError
    return given[0], made is scores


def _common_parent(names: list[str]) -> str:
    """Return the module in which all of these weights lie: '' for the model itself."""
    parents = [name.split(".")[:-1] for name in names]
    common = []
    for parts in zip(*parents, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)
