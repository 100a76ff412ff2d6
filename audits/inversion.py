"""Gradient inversion: a record rebuilt from what training on it alone has changed.

Two attacks, which need no more than the model and the change. Division is exact wherever a record
enters a linear layer that trains; the search knows the record's label as well. Both hold what they
find inside the range that any record has.

References
----------
Geiping, Bauermeister, Dröge and Moeller 2020, "Inverting Gradients - How easy is it to break
privacy in federated learning?", arXiv 2003.14053: proposition 3.1 (division) and equation 4
(search).
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tacit.learning.update import Update

Records = NDArray[np.float64]

STEPS: Final = 300
SECONDS: Final = 3.0
"""How long a search goes on where a step is slow; the first prepares the others and is left out."""
_LEAST_STEPS: Final = 20
_RATE: Final = 0.05
"""Of the search's Adam, in ranges of a record."""
_PRIOR: Final = 0.1
"""What the mean square by which a record strays from where the search begins weighs beside the
cosine: gradients that many records share then leave it where it was."""
_ROWS: Final = 16
"""Rows that are divided: those whose bias moves most."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer with a bias, of which both train.

    Parameters
    ----------
    name
        Of the layer in its model.
    """

    name: str

    @property
    def weight(self) -> str:
        """Name of its weights [outputs, inputs]."""
        return f"{self.name}.weight"

    @property
    def bias(self) -> str:
        """Name of its bias [outputs]."""
        return f"{self.name}.bias"

    def inputs(self, model: nn.Module, features: torch.Tensor) -> Records:
        """Return what enters it, [n, inputs], of examples [n, ...]."""
        caught: list[torch.Tensor] = []

        def catch(_: nn.Module, entered: tuple[Any, ...]) -> None:
            caught.append(entered[0].detach().flatten(1))

        hook = model.get_submodule(self.name).register_forward_pre_hook(catch)
        try:
            with torch.no_grad(), _still(model):
                model(features.to(_device(model)))
        finally:
            hook.remove()
        return caught[0].cpu().double().numpy()


def first_moved(model: nn.Module, changes: Update) -> Layer | None:
    """Return the first linear layer whose bias a change moves; None where there is none such.

    Of a model whose head starts from zero, layers below it do not move in the first step.
    """
    for name, module in model.named_modules():
        layer = Layer(name)
        if (
            isinstance(module, nn.Linear)
            and layer.weight in changes
            and np.any(changes.get(layer.bias, np.zeros(1)))
        ):
            return layer
    return None


def divided(changes: Update, layer: Layer) -> Iterator[Records]:
    """Yield what may have entered a layer: each [inputs], all of them equal where nothing hides it.

    The gradient of row k of the weights is that of entry k of the bias times what entered; so is
    every row together, which gives the last, by least squares.
    """
    weights, bias = changes[layer.weight], changes[layer.bias]
    for row in np.argsort(-np.abs(bias))[:_ROWS]:
        if bias[row]:
            yield weights[row] / bias[row]
    if np.any(bias):
        yield bias @ weights / (bias @ bias)


def searched(
    model: nn.Module,
    changes: Mapping[str, torch.Tensor],
    targets: torch.Tensor,
    begin: torch.Tensor,
    reach: tuple[float, float],
) -> torch.Tensor:
    """Look for records whose gradients point where the changes do, by Adam on the records.

    Parameters
    ----------
    model
        With the weights that the changes began from.
    changes
        Of several records, each by itself: [n, *shape] by name, in the direction of gradients.
    targets
        Labels of the records [n], which the attack is told.
    begin
        Where to begin [n, ...].
    reach
        Least and largest value of a record.

    Returns
    -------
    Tensor
        Records [n, ...].
    """
    device, (low, high) = _device(model), reach
    aims = _flat(changes).to(device)
    middle = begin.to(device)
    found = middle.clone().requires_grad_()
    targets = targets.to(device)
    adam = torch.optim.Adam([found], lr=_RATE * (high - low))
    steps, done, began = STEPS, 0, time.perf_counter()
    with _still(model):
        gradients = _gradients_of(model)
        while done < steps:
            flat = _flat(gradients(found, targets))
            # The length of a change tells nothing: clipping and step sizes set it.
            apart = 1 - nn.functional.cosine_similarity(flat, aims, dim=1)
            adam.zero_grad()
            strayed = ((found - middle) / (high - low)).square().flatten(1).mean(1)
            torch.autograd.backward((apart + _PRIOR * strayed).sum(), inputs=[found])
            adam.step()
            with torch.no_grad():
                found.clamp_(low, high)
            done += 1
            if done == 1:
                began = time.perf_counter()
            if time.perf_counter() - began > SECONDS:
                steps = max(done, _LEAST_STEPS)
    return found.detach().cpu()


def _gradients_of(model: nn.Module) -> Any:
    """Return what maps examples [n, ...] and targets [n] to the gradient of each, [n, *shape]."""
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = torch.func.functional_call(model, weights, (x[None],))
        if y.is_floating_point():
            return (scores[0, 0] - y).square() / 2
        return nn.functional.cross_entropy(scores, y[None])

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    return lambda x, y: each(trained, x, y)


def _flat(parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([part.reshape(len(part), -1) for part in parts.values()], 1)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _still(model: nn.Module) -> Iterator[None]:
    """Keep layers that draw (dropout) from it: what they drew an attack does not know."""
    trains = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(trains)
