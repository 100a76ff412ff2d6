"""Gradients of the loss of each example alone, by Opacus."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import nn

from tacit.learning.plan import Within

_ENTRIES_AT_ONCE = 1 << 14
"""Entries of a gradient whose squares are summed in fp32. On a CPU torch's norm falls short where
they are many, by 0.5 % at 20 million, and a norm too small leaves a gradient too long."""


def usable_losses(
    model: Callable[[torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    targets: torch.Tensor,
    precision: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the loss of each example.

    Parameters
    ----------
    model
        Maps examples [n, ...] to scores: [n, classes], [n, 1] for numbers, one each for answers.
    features
        Examples [n, ...].
    targets
        Classes [n] (int64): the loss is cross-entropy. Numbers [n] (floating point): it is half the
        squared error. Answers [n, outputs] of 0 or 1 (floating point): it is the mean of their
        binary cross-entropies.
    precision
        Type of the forward pass.

    Returns
    -------
    losses : Tensor
        fp32 [n]; zero, and without gradient, for an unusable row.
    usable : Tensor
        bool [n]: the row's features are finite, and its target is a class or a finite number.
    """
    return losses_of(model, *cleaned(features), targets, precision)


def losses_of(
    model: Callable[[torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    finite: torch.Tensor,
    targets: torch.Tensor,
    precision: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute what `usable_losses` does, of examples that `cleaned` has cleaned."""
    with torch.autocast(
        features.device.type,
        dtype=precision if precision != torch.float32 else torch.bfloat16,
        enabled=precision != torch.float32,
    ):
        scores = model(features)
    if targets.dim() == 2:
        usable = finite & ((targets == 0) | (targets == 1)).all(1)
        answers = torch.where(usable.unsqueeze(1), targets, 0)
        losses = nn.functional.binary_cross_entropy_with_logits(
            scores.float(), answers, reduction="none"
        ).mean(1)
    elif targets.is_floating_point():
        usable = finite & torch.isfinite(targets)
        losses = (scores[:, 0].float() - torch.where(usable, targets, 0)).square() / 2
    else:
        usable = finite & (targets >= 0) & (targets < scores.shape[1])
        losses = nn.functional.cross_entropy(
            scores.float(), torch.where(usable, targets, 0), reduction="none"
        )
    return losses * usable, usable


def cleaned(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return examples [n, ...] with zeros in rows that are not finite, and which rows are."""
    # The sum is finite only if all terms are: on a CPU that is known before asking each.
    if features.device.type == "cpu" and math.isfinite(float(features.sum())):
        return features, torch.ones(len(features), dtype=torch.bool)
    usable = torch.isfinite(features).flatten(1).all(1)
    return torch.where(usable.view(-1, *[1] * (features.dim() - 1)), features, 0), usable


def norms_of(gradients: list[torch.Tensor]) -> torch.Tensor:
    """Return the L2 norm [n] of each example's gradients [n, ...] taken together."""
    squares = torch.zeros(len(gradients[0]), dtype=torch.float64, device=gradients[0].device)
    for gradient in gradients:
        for part in torch.split(gradient.reshape(len(gradient), -1), _ENTRIES_AT_ONCE, 1):
            squares += torch.linalg.vector_norm(part, dim=1).double().square()
    return squares.sqrt().float()


def clip_factors(norms: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """Return by what gradients are multiplied so that no norm exceeds its bound.

    A norm that overflows belongs to a gradient that cannot be scaled: it becomes zero.

    Parameters
    ----------
    norms
        Of any shape.
    bounds
        C, of a shape that goes with it.
    """
    return torch.where(torch.isfinite(norms), bounds / norms.maximum(bounds), 0)


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose the examples of a batch are, where a person is the unit.

    Parameters
    ----------
    persons
        Number of each one's person: int64 [n], from 0 on, ascending by 1 at most.
    within
        What is made of the gradients of a person's examples.
    """

    persons: torch.Tensor
    within: Within

    def end(self, start: int, end: int) -> int:
        """Move the end of a part to where a person ends: back or, if there is but one, on."""
        persons = self.persons
        if end == len(persons) or persons[end - 1] != persons[end]:
            return end
        before = int(torch.searchsorted(persons, persons[end]))
        if before > start:
            return before
        return int(torch.searchsorted(persons, persons[end], right=True))

    def together(self, gradients: list[torch.Tensor], part: slice) -> list[torch.Tensor]:
        """Make of examples' gradients [n, ...] those of the persons that they are of.

        Parameters
        ----------
        gradients
            For each parameter, of the examples in a part of the batch that cuts no person in two.
        part
            Which.

        Returns
        -------
        list of Tensor
            fp32 [persons, ...]. A mean is over all of a person's examples, also those that are
            unusable. Zero where a sum is not finite, though its terms are.
        """
        counts = self.persons[part].bincount()
        counts = counts[counts > 0].to(gradients[0].device)
        if self.within is Within.MEAN:
            shares = (1 / counts).repeat_interleave(counts)
            gradients = [g * shares.view(-1, *[1] * (g.dim() - 1)) for g in gradients]
        # In the order of the rows: adding to places by number would be in any order on a GPU.
        found = [torch.segment_reduce(g, "sum", lengths=counts, axis=0) for g in gradients]
        zeroed = ~torch.stack([g.reshape(len(g), -1).sum(1).isfinite() for g in found]).all(0)
        return [g.masked_fill(zeroed.view(-1, *[1] * (g.dim() - 1)), 0) for g in found]


class PerExampleGradients:
    """Per-example gradients of the loss.

    A context manager: on exit, Opacus's hooks are gone and the module is as it was, but in
    training mode.

    Parameters
    ----------
    model
        Maps examples [n, ...] to scores.
    precision
        Type of forward and backward passes; gradients are fp32 in the end. Trainable weights stay
        fp32 (master weights).
    loss_scale
        Constant by which the loss is multiplied before the backward pass and gradients are
        divided after it. Static: a scale that follows the data would leave with the update.
    """

    def __init__(
        self,
        model: nn.Module,
        precision: torch.dtype = torch.float32,
        loss_scale: float = 1.0,
    ) -> None:
        from opacus.grad_sample import GradSampleModule

        model.train()
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        # strict=False: buffers (a public scaling, say) are constants here, which `check_private`
        # proves by comparison with autograd.
        self._hooked = GradSampleModule(model, loss_reduction="sum", strict=False)
        self._precision = precision
        self._loss_scale = loss_scale

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._forget_pass()
        self._hooked.to_standard_module()
        for parameter in self._parameters:
            parameter.grad = None

    def __call__(self, features: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
        """Return, for each trainable parameter, gradients fp32 [n, *parameter.shape].

        Rows that are unusable (a feature that is not finite, a target that is no class or no
        number) get a gradient of zero, and so does every example whose gradient is not finite or so
        large that its entries do not sum to a finite number (nor, then, do their squares).
        """
        self._forget_pass()
        losses, usable = usable_losses(self._hooked, features, targets, self._precision)
        self._hooked.zero_grad()
        with warnings.catch_warnings():
            # Opacus hooks layers whose input needs no gradient (features): torch warns that the
            # hook sees the gradient of outputs only, which is the one that Opacus uses.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            torch.autograd.backward((losses * self._loss_scale).sum())
        gradients = [self._take(parameter, len(features)) for parameter in self._parameters]
        # A row's sum is finite only if all its terms are; asking each term takes 50 times as long.
        sums = torch.stack([g.reshape(len(g), -1).sum(1) for g in gradients])
        zeroed = ~(usable & torch.isfinite(sums).all(0))
        for gradient in gradients:
            gradient.masked_fill_(zeroed.view(-1, *[1] * (gradient.dim() - 1)), 0)
        return gradients

    def _forget_pass(self) -> None:
        """Drop what Opacus keeps of a pass that memory ran out in.

        It counts the uses of a weight up in the forward pass and down in the backward pass, and
        gives a gradient only at zero: a count left over would make every later gradient vanish.
        """
        for layer in self._hooked.modules():
            for kept in ("activations", "max_batch_len"):
                layer.__dict__.pop(kept, None)
        for parameter in self._parameters:
            parameter.__dict__.pop("_current_grad_sample", None)
            parameter._forward_counter = 0  # type: ignore[attr-defined]

    def _take(self, parameter: nn.Parameter, examples: int) -> torch.Tensor:
        gradient = getattr(parameter, "grad_sample", None)
        parameter.grad = None
        if gradient is None:  # no example's loss depends on this weight
            return torch.zeros((examples, *parameter.shape), device=parameter.device)
        parameter.grad_sample = None  # type: ignore[attr-defined]
        if isinstance(gradient, list):  # the weight is used more than once in a forward pass
            gradient = torch.stack(gradient).sum(0)
        gradient = gradient.float()  # ours alone: the rest is in place
        return gradient if self._loss_scale == 1 else gradient.div_(self._loss_scale)
