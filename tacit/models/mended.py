"""What stands in the way of per-example gradients in other people's models, put right.

Each mends the model where it stands and leaves what it computes in evaluation as it was.
"""

import functools
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tacit.errors import ModelError


class FixedNorm(nn.Module):
    """A BatchNorm as it is in evaluation: an affine map of each channel that nothing trains.

    In training BatchNorm mixes the examples of a batch, and keeps statistics of them.

    Parameters
    ----------
    norm
        What it stands for.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("it has no statistics to keep")
        scale = (norm.running_var + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.detach()
        shift = -norm.running_mean * scale
        if norm.bias is not None:
            shift = shift + norm.bias.detach()
        self.register_buffer("scale", scale.clone())
        self.register_buffer("shift", shift.clone())

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Map values [n, channels, ...]."""
        shape = (1, -1, *[1] * (values.dim() - 2))
        return values * self.scale.view(shape) + self.shift.view(shape)


def fix_batch_norms(model: nn.Module) -> list[str]:
    """Replace every BatchNorm that has statistics by what it is in evaluation; return their names.

    A layer that is more than a BatchNorm (timm's with an activation in it) keeps what it adds.
    """
    found = []
    for name, layer in [*model.named_modules()]:
        if not isinstance(layer, _BatchNorm) or layer.running_mean is None:
            continue
        parent = model.get_submodule(name.rpartition(".")[0])
        fixed: nn.Module = FixedNorm(layer)
        after = [getattr(layer, part, None) for part in ("drop", "act")]
        if kept := [part for part in after if isinstance(part, nn.Module)]:
            fixed = nn.Sequential(fixed, *kept)
        setattr(parent, name.rpartition(".")[2], fixed)
        found.append(name)
    return found


def expand_positions(model: nn.Module) -> list[str]:
    """Let every embedding of positions look up a batch of them; return their names.

    Models compute it once and broadcast it, and its gradient then has no row for each example.
    The size of the batch is that of the model's input.
    """
    found = [
        name
        for name, layer in model.named_modules()
        if (isinstance(layer, nn.Embedding) and "position" in name) or name.endswith("wpe")
    ]
    size = [1]

    def remember(_: nn.Module, given: tuple[object, ...], named: dict[str, object]) -> None:
        first = next(value for value in (*given, *named.values()) if torch.is_tensor(value))
        size[0] = len(first)

    if found:
        model.register_forward_pre_hook(remember, with_kwargs=True)
    for name in found:
        model.get_submodule(name).register_forward_pre_hook(functools.partial(_expanded, size))
    return found


def _expanded(
    size: list[int], layer: nn.Module, given: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    (positions,) = given
    if positions.dim() == 1:
        positions = positions.unsqueeze(0)
    return (positions.expand(size[0], -1) if len(positions) == 1 else positions,)


def learn_padding(model: nn.Module) -> None:
    """Let every row of an embedding have its gradient: Opacus gives one to that of padding too."""
    for layer in model.modules():
        if isinstance(layer, nn.Embedding):
            layer.padding_idx = None


def without_dropout(settings: Mapping[str, object]) -> dict[str, float]:
    """Return the keys of a configuration that are chances of dropout, each set to zero.

    Some models hand a chance from their configuration to a function, where no layer has it: what
    they are made from must know it, and `still` finds the rest.
    """
    words = ("dropout", "dropout_prob", "pdrop", "dropout_rate", "drop_path_rate")
    return {
        key: 0.0
        for key, value in settings.items()
        if key.endswith(words) and isinstance(value, float) and value > 0
    }


def still(model: nn.Module) -> None:
    """Set every layer's chance of dropout to zero: private noise is enough."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = 0.0


def take_weights(plain: nn.Module, mended: nn.Module) -> None:
    """Put a mended model's weights into one that is as its library makes it.

    A norm that was fixed does not train: the library's stays as it is. So does what is missing in
    the mended model.

    Raises
    ------
    ModelError
        The library's model has no weight of such a name and shape.
    """
    fixed = {name for name, layer in mended.named_modules() if isinstance(layer, FixedNorm)}
    own = plain.state_dict()
    for name, tensor in mended.state_dict().items():
        if name.rpartition(".")[0] in fixed:
            continue
        if name not in own or own[name].shape != tensor.shape:
            raise ModelError(f"{name}: the library's own {type(plain).__name__} has no such weight")
        own[name].copy_(tensor)
