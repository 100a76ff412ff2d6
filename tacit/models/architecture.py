"""What a model of Tacit is: a backbone that may be pretrained and a head for the task."""

from typing import Protocol

import torch
from torch import nn

from tacit.errors import ModelError


class Architecture(Protocol):
    """Builds a model; to be implemented by a class that a YAML names with ``_target_``.

    The module that `build` returns maps a batch of examples [n, ...] to scores [n, outputs], one
    for each class or a single one where a number is predicted, and has a submodule ``head`` that
    starts from zeros, so that an untrained model prefers no class. No layer may mix the examples of
    a batch (BatchNorm does): per-example gradients would not be defined.
    """

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...

    def build(self, inputs: tuple[int, ...], outputs: int) -> nn.Module:
        """Return a new module for examples of shape `inputs`.

        Initial weights come from torch's global generator, which the caller seeds.
        """
        ...


class Pretrainable(Protocol):
    """A module that masked modelling can pretrain on unlabelled examples."""

    def standardise(self, pool: torch.Tensor) -> None:
        """Take scale and location from public examples [n, ...], of the features and their code.

        Called before pretraining, for what is to be predicted, and once more after it, for what
        the learnt encoder gives to the head.
        """
        ...

    def reconstruct(self, features: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """Predict the standardised features [n, ...] from those where `masked` [n, ...] is 0."""
        ...

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        """Return what `reconstruct` should predict."""
        ...


def zero_head(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Return a linear head with zero weights: no class is preferred at the start."""
    head = nn.Linear(inputs, outputs, bias)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head


def head_of(model: nn.Module) -> nn.Module:
    """Return the model's head.

    Raises
    ------
    ModelError
        The model has none.
    """
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Module):
        raise ModelError(
            f"the model ({type(model).__name__}) has no submodule `head`: give what makes the "
            "scores that name, with zero weights (tacit.models.architecture.zero_head)"
        )
    return head


def made_up_examples(
    model: nn.Module, count: int, inputs: tuple[int, ...], generator: torch.Generator
) -> torch.Tensor:
    """Make up examples [count, *inputs] on the CPU: the model's own, where it makes some."""
    own = getattr(model, "made_up", None)
    if own is not None:
        examples: torch.Tensor = own(count, generator)
        return examples
    return torch.rand((count, *inputs), generator=generator)
