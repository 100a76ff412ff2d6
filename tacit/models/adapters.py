"""Thin matrices beside a model's frozen ones (LoRA), put there by peft."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from torch import nn

from tacit.errors import ConfigurationError, ModelError
from tacit.models.trainable import PRETRAINING_ONLY

_NOT: Final = ("head.", "head", *PRETRAINING_ONLY)


@dataclass(frozen=True, slots=True)
class Lora:
    """How thin matrices are added: BA α/r to each chosen weight (Hu et al. 2022, section 4.1).

    Parameters
    ----------
    rank
        r, of both.
    alpha
        α; the larger, the more a step of them moves the model.
    targets
        Which layers have them: searched for in a linear layer's name; None for all.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: str | None = None

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 < self.alpha < math.inf:
            raise ConfigurationError(
                f"model.lora: rank={self.rank} must be 1 or more, and alpha={self.alpha:g} a "
                "number above 0"
            )
        try:
            re.compile(self.targets or "")
        except re.error as error:
            raise ConfigurationError(
                f"model.lora.targets={self.targets}: is no regular expression: {error}"
            ) from error


def add_adapters(model: nn.Module, lora: Lora) -> Sequence[str]:
    """Add thin matrices to a model in place and return the names of the layers that have them.

    One of the two is drawn from torch's global generator, which the caller seeds; the other is
    zero, so that the model computes what it did.

    Raises
    ------
    ConfigurationError
        peft is not installed.
    ModelError
        The model has no linear layer of such a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigurationError(
            "model.train=lora: the package peft is not installed: pip install 'tacit[lora]'"
        ) from error
    linear = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and not name.startswith(_NOT)
    ]
    chosen = [name for name in linear if re.search(lora.targets or "", name)]
    if not linear:
        raise ModelError(
            "model.train=lora: the model has no linear layer below its head to stand beside: use "
            "model.train=head"
        )
    if not chosen:
        raise ModelError(
            f"model.lora.targets={lora.targets}: the model's linear layers below its head are "
            f"{', '.join(linear[:4])}: choose some of them, or model.train=head"
        )
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=cast(int, lora.alpha),  # only ever divided by r
        target_modules=chosen,
        lora_dropout=0.0,
        bias="none",
    )
    inject_adapter_in_model(config, model)
    return chosen


def merge_adapters(model: nn.Module) -> None:
    """Add thin matrices to the weights beside which they stand, in place: W + BA α/r.

    Layers and weights have then the names that they had before `add_adapters`, and the model
    computes what it did but for rounding. A model without thin matrices is left as it is.
    """
    if not any(".lora_" in name for name, _ in model.named_parameters()):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in [*model.named_modules()]:
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, layer.get_base_layer())
