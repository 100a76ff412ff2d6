"""Which weights of a model train, and how they travel: by name, as fp32 arrays."""

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tacit.errors import ModelError
from tacit.models.architecture import head_of

Weights = dict[str, npt.NDArray[np.float32]]
"""Trainable weights by parameter name, in the order of the model."""

PRETRAINING_ONLY = ("decoder.", "absent.")
"""Parameters that serve pretraining alone: no gradient of the task reaches them."""


class Train(StrEnum):
    """Which part of the model trains."""

    HEAD = "head"
    LORA = "lora"
    """The head, and two thin matrices beside each frozen one (Hu et al. 2022, arXiv 2106.09685,
    section 4.1)."""
    FFA_LORA = "ffa_lora"
    """Of the two only that which starts from zero, the other being frozen as drawn: half as many
    weights, and a mean of sites' updates is the update of their mean (Sun et al. 2024, "Improving
    LoRA in privacy-preserving federated learning", section 4)."""
    ALL = "all"
    REGEX = "regex"
    """The head, and what a pattern finds."""

    @property
    def adapts(self) -> bool:
        """Whether thin matrices are added to the model."""
        return self in (Train.LORA, Train.FFA_LORA)


_TRAINS: Final = {Train.LORA: r"\.lora_[AB]\.", Train.FFA_LORA: r"\.lora_B\."}


def choose_trainable(model: nn.Module, train: Train, pattern: str | None = None) -> None:
    """Freeze what does not train.

    Parameters
    ----------
    model
        With thin matrices, where they are to train (`tacit.models.adapters`).
    train
        Which part.
    pattern
        Of `Train.REGEX`: searched for in each parameter's name.

    Raises
    ------
    ModelError
        The model has no head, or nothing that the pattern finds.
    """
    head_of(model)
    wanted = _TRAINS.get(train, pattern if train is Train.REGEX else None)
    found = False
    for name, parameter in model.named_parameters():
        chosen = train is Train.ALL
        if wanted is not None:
            chosen = re.search(wanted, name) is not None
        chosen = chosen and not name.startswith(PRETRAINING_ONLY)
        found |= chosen
        parameter.requires_grad_(chosen or name.startswith("head."))
    if wanted is not None and not found:
        some = [name for name, _ in model.named_parameters()]
        raise ModelError(
            f"model.train={train.value}: of the model's {len(some)} parameters none has a name in "
            f"which {wanted!r} is found: they are called {', '.join(some[:3])} and so on"
        )


def trainable_weights(model: nn.Module) -> Weights:
    """Copy the trainable weights out of a model."""
    return {
        name: parameter.detach().to("cpu", torch.float32).numpy().copy()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def load_trainable(model: nn.Module, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Put trainable weights into a model.

    Raises
    ------
    ModelError
        Names or shapes do not fit, or a value is not finite.
    """
    check_trainable(model, weights)
    for name, parameter in _trained(model).items():
        with torch.no_grad():
            # A copy: torch takes no array that, like a message's, nobody may write to.
            parameter.copy_(torch.tensor(np.asarray(weights[name], dtype=np.float32)))


def check_trainable(model: nn.Module, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Refuse trainable weights that a model cannot take.

    Raises
    ------
    ModelError
        Names or shapes do not fit, or a value is not finite.
    """
    parameters = _trained(model)
    if parameters.keys() != weights.keys():
        raise ModelError(
            f"weights do not belong to this model: of those that it trains "
            f"{len(parameters.keys() - weights.keys())} are missing, and "
            f"{len(weights.keys() - parameters.keys())} are not its"
        )
    for name, parameter in parameters.items():
        array = weights[name]
        if tuple(array.shape) != tuple(parameter.shape):
            raise ModelError(
                f"weight {name!r} has shape {tuple(array.shape)}, "
                f"the model needs {tuple(parameter.shape)}"
            )
        if not np.isfinite(array).all():
            raise ModelError(f"weight {name!r} holds values that are not finite")


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def sha256_of(weights: Mapping[str, npt.NDArray[np.float32]]) -> str:
    """Hash names, shapes and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], dtype="<f4")
        digest.update(f"{name}:{array.shape};".encode())
        digest.update(array.data)
    return digest.hexdigest()
