"""Whether per-example gradients of a model are defined and Opacus computes them rightly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import nn

from tacit.errors import ModelError
from tacit.models.architecture import made_up_examples

_ADVICE: Final = {
    "Norm": "replace it by GroupNorm (opacus.validators.ModuleValidator.fix does that)",
    "LSTM": "use opacus.layers.DPLSTM",
    "GRU": "use opacus.layers.DPGRU",
    "RNN": "use opacus.layers.DPRNN",
    "MultiheadAttention": "use opacus.layers.DPMultiheadAttention",
}
TOLERANCE: Final = 1e-3
"""Largest error of a per-example gradient, relative to that parameter's largest gradient."""
ROUNDING: Final = 1e-5
"""The same relative to the model's largest gradient: fp32 leaves that much of a gradient which
cancels to zero, as that of a bias does before a normalisation or of keys in attention."""


UNFIT: Final = (
    AttributeError,
    IndexError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch, Opacus or somebody's model raises where examples and model do not fit."""


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Leave a model's trainable weights and its buffers as they were: a trial is no training."""
    held = [*(p for p in model.parameters() if p.requires_grad), *model.buffers()]
    kept = [(tensor, tensor.detach().clone()) for tensor in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in kept:
                tensor.copy_(value)


def check_scores(model: nn.Module, inputs: tuple[int, ...], outputs: int) -> None:
    """Refuse a model that does not map examples to scores.

    Parameters
    ----------
    model
        On its device.
    inputs, outputs
        Shape of one example, and number of its scores.

    Raises
    ------
    ModelError
        Says what the model gave for two made-up examples.
    """
    device = next(model.parameters()).device
    examples = made_up_examples(model, 2, inputs, torch.Generator().manual_seed(0)).to(device)
    wanted = f"scores of shape (2, {outputs}) for 2 examples of shape {inputs}"
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores = model(examples)
    except UNFIT as error:
        raise ModelError(f"the model does not give {wanted}: it fails with: {error}") from error
    finally:
        model.train(was_training)
    if not isinstance(scores, torch.Tensor) or scores.shape != (2, outputs):
        found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ModelError(f"the model must give {wanted}, and gives {found}")


def check_private(model: nn.Module, inputs: tuple[int, ...]) -> None:
    """Refuse a model that cannot be trained privately.

    First the layers that Opacus is known not to do; then the model as a whole, where Opacus's
    per-example gradients of three made-up examples are held against autograd's, one example at a
    time. The second finds what no list of layers can: examples that mix, or a weight that is used
    once for a whole batch.

    Parameters
    ----------
    model
        With its trainable weights chosen.
    inputs
        Shape of one example.

    Raises
    ------
    ModelError
        Names each layer or weight, and what to do.
    """
    if complaints := _refused_layers(model):
        raise ModelError("Opacus cannot train this model privately: " + "; ".join(complaints))
    with untouched(model):
        _compare_with_autograd(model, inputs)


def _refused_layers(model: nn.Module) -> list[str]:
    from opacus.validators import ModuleValidator

    complaints = []
    for name, layer in model.named_modules():
        validator = ModuleValidator.VALIDATORS.get(type(layer))
        # Opacus has a replacement for RNN but no validator that asks for it.
        if validator(layer) if validator else type(layer) is nn.RNN:
            kind = type(layer).__name__
            advice = next((text for key, text in _ADVICE.items() if key in kind), "replace it")
            complaints.append(f"{name or 'the model'} ({kind}): {advice}")
    return complaints


def made_up_targets(model: nn.Module, examples: torch.Tensor) -> torch.Tensor:
    """Make up targets: a class each, or a number each where the model gives a single score."""
    with torch.no_grad():
        scores = model(examples)
    if scores.shape[1] == 1:
        return torch.full_like(scores[:, 0], 0.5)
    return torch.zeros(len(scores), dtype=torch.int64, device=scores.device)


def _still(model: nn.Module) -> None:
    """Let dropout pass everything: its draws differ between a batch and its examples alone."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.eval()


def _compare_with_autograd(model: nn.Module, inputs: tuple[int, ...]) -> None:
    from tacit.learning.per_example import PerExampleGradients, usable_losses

    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(0)
    device = trainable[0][1].device
    examples = made_up_examples(model, 3, inputs, generator).to(device)
    with torch.no_grad():
        # Zero weights (a fresh head) would hide the layers below them.
        for _, p in trainable:
            p.add_(0.1 * torch.rand(p.shape, generator=generator).to(device))
    try:
        with PerExampleGradients(model) as per_example:
            _still(model)
            targets = made_up_targets(model, examples)
            batched = per_example(examples, targets)
        for row in range(3):
            one = slice(row, row + 1)
            loss = usable_losses(model, examples[one], targets[one], torch.float32)[0].sum()
            alone = torch.autograd.grad(loss, [p for _, p in trainable], allow_unused=True)
            largest = max((g.abs().max().item() for g in alone if g is not None), default=0.0)
            for (name, p), single, gradients in zip(trainable, alone, batched, strict=True):
                expected = torch.zeros_like(p) if single is None else single
                bound = TOLERANCE * expected.abs().max().item() + ROUNDING * largest
                if (gradients[row] - expected).abs().max().item() > bound:
                    raise ModelError(
                        f"Opacus's per-example gradients of {name} are wrong for this model: its "
                        f"examples mix in a batch, the weight is computed once and broadcast, or "
                        f"the forward pass draws random numbers outside a Dropout layer. Freeze "
                        f"that layer, or make its input have the batch as first dimension"
                    )
    except UNFIT as error:
        raise ModelError(
            f"Opacus cannot compute per-example gradients of this model ({error}): train fewer "
            f"of its layers (model.train=head) or replace the layer"
        ) from error
