"""What a forward pass notes of trainable weights, and the gradients that one backward pass gives.

Per-example gradients are never kept where they are larger than what they are made of. Where a
matrix W maps x to y, example i's gradient is the sum over its positions t of the outer product of g
(the gradient of the loss with respect to y) and x at (i, t). Its squared norm is the sum over t and
s of (x at t · x at s)(g at t · g at s): the ghost norm (Goodfellow 2015, arXiv 1510.01799; Li et
al. 2022, arXiv 2110.05679, section 4). It is taken where that is smaller than the gradient itself,
2T² ≤ |W| (Bu et al. 2022, arXiv 2205.10683, "mixed ghost clipping"). The clipped sum is then one
product of the same x and g, without a second backward pass (Bu et al. 2023, arXiv 2210.00038,
"book-keeping").

Rows are site-major: row k·B + b is example b of site k. An example of one site never meets another
site's weights or gradients.

Where a person is the unit, the rows of one lie next to each other and become one example with more
positions (`Use.by_person`): the same products then give a person's norm and the sum over persons.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import torch
from torch.autograd.graph import GradientEdge, get_gradient_edge

from tacit.learning.per_example import norms_of

_EVERY_ROW: Final = slice(None)
Rows = slice | torch.Tensor
"""Which of the N rows: all of them, or their numbers."""


class Use(Protocol):
    """One use of one trainable weight, once the gradient of its output is known."""

    def squares(self) -> torch.Tensor:
        """Return the squared norm [N] of each example's gradient."""
        ...

    def per_example(self, rows: Rows = _EVERY_ROW) -> torch.Tensor:
        """Return the gradients [rows, *shape] of examples."""
        ...

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """Return Σ over each site's examples of factor times gradient: [K, *shape]."""
        ...

    def drop(self, rows: torch.Tensor) -> None:
        """Let examples count as nothing, whatever they hold: bool [N]."""
        ...

    def by_person(self, rows: int) -> "Use":
        """Return the use with each run of so many rows as one example [N / rows]."""
        ...


@dataclass(slots=True)
class Direct:
    """A use whose per-example gradients [N, *shape] are small and simply there."""

    gradients: torch.Tensor

    def squares(self) -> torch.Tensor:
        """Return the squared norms [N]."""
        return self.gradients.flatten(1).square().sum(1)

    def per_example(self, rows: Rows = _EVERY_ROW) -> torch.Tensor:
        """Return the gradients of examples."""
        return self.gradients[rows]

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """Return each site's weighted sum [K, *shape]."""
        return _weighted(self.gradients, factors)

    def drop(self, rows: torch.Tensor) -> None:
        """Let examples count as nothing."""
        self.gradients = _zeroed(self.gradients, rows)

    def by_person(self, rows: int) -> "Direct":
        """Return the gradients of persons: the sums of their rows'."""
        return Direct(_grouped(self.gradients, rows).sum(1))


@dataclass(slots=True)
class Product:
    """A use as a matrix product, in `groups` independent blocks.

    Parameters
    ----------
    inputs, outputs
        x [N, groups, T, d] and g [N, groups, T, p].
    shape
        Of the weight: groups · p rows of d entries.
    inputs_last
        Whether x has the weight's second dimension (channels of a convolution) last.
    """

    inputs: torch.Tensor
    outputs: torch.Tensor
    shape: torch.Size
    inputs_last: bool = False
    _gradients: torch.Tensor | None = None
    """Those of all examples, once they are there: where they are smaller than x and g."""

    def squares(self) -> torch.Tensor:
        """Return the squared norms [N]: of the gradient, or by the ghost trick."""
        positions = self.inputs.shape[2]
        if positions == 1:
            inputs, outputs = self.inputs.square().sum(3), self.outputs.square().sum(3)
            return (inputs * outputs).sum((1, 2))
        if 2 * positions**2 > self.inputs.shape[3] * self.outputs.shape[3]:
            self._gradients = self.outputs.mT @ self.inputs
            return norms_of([self._gradients]).square()
        inputs = self.inputs @ self.inputs.mT
        outputs = self.outputs @ self.outputs.mT
        return inputs.mul_(outputs).sum((1, 2, 3))

    def per_example(self, rows: Rows = _EVERY_ROW) -> torch.Tensor:
        """Return the gradients of examples."""
        return self._in_order(self.outputs[rows].mT @ self.inputs[rows])

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """Return each site's weighted sum [K, *shape]."""
        sites = len(factors)
        if self._gradients is not None:
            return self._in_order(_weighted(self._gradients, factors))
        outputs = self.outputs * factors.reshape(-1, 1, 1, 1)
        return self._in_order(_by_site(outputs, sites).mT @ _by_site(self.inputs, sites))

    def drop(self, rows: torch.Tensor) -> None:
        """Let examples count as nothing."""
        self.inputs, self.outputs = _zeroed(self.inputs, rows), _zeroed(self.outputs, rows)
        self._gradients = None

    def by_person(self, rows: int) -> "Product":
        """Return the product with all positions of a person's rows as its own."""
        inputs, outputs = (
            _grouped(each, rows).transpose(1, 2).flatten(2, 3)
            for each in (self.inputs, self.outputs)
        )
        return Product(inputs, outputs, self.shape, self.inputs_last)

    def _in_order(self, found: torch.Tensor) -> torch.Tensor:
        """Bring [..., groups, p, d] into the weight's own shape."""
        if not self.inputs_last:
            return found.reshape(len(found), *self.shape)
        out, channels, *kernel = self.shape
        return found.reshape(len(found), out, *kernel, channels).movedim(-1, 2)


@dataclass(slots=True)
class Lookup:
    """A use as a table of which rows are looked up.

    Parameters
    ----------
    indices
        Which rows: int64 [N, T].
    outputs
        g [N, T, d]; zero where a row does not train.
    shape
        Of the table: V rows of d entries.
    """

    indices: torch.Tensor
    outputs: torch.Tensor
    shape: torch.Size

    def squares(self) -> torch.Tensor:
        """Return the squared norms [N] by the ghost trick: x is one-hot."""
        same = self.indices.unsqueeze(2) == self.indices.unsqueeze(1)
        return (self.outputs @ self.outputs.mT).mul_(same).sum((1, 2))

    def per_example(self, rows: Rows = _EVERY_ROW) -> torch.Tensor:
        """Return the gradients of examples."""
        return self._scattered(self.indices[rows], self.outputs[rows])

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """Return each site's weighted sum [K, *shape]."""
        sites = len(factors)
        outputs = self.outputs * factors.reshape(-1, 1, 1)
        return self._scattered(self.indices.view(sites, -1), outputs.view(sites, -1, self.shape[1]))

    def drop(self, rows: torch.Tensor) -> None:
        """Let examples count as nothing."""
        self.outputs = _zeroed(self.outputs, rows)

    def by_person(self, rows: int) -> "Lookup":
        """Return the lookup with all that a person's rows look up as its own."""
        indices, outputs = (
            _grouped(each, rows).flatten(1, 2) for each in (self.indices, self.outputs)
        )
        return Lookup(indices, outputs, self.shape)

    def _scattered(self, indices: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        tables = outputs.new_zeros(len(indices), *self.shape)
        return tables.scatter_add_(1, indices.unsqueeze(2).expand_as(outputs), outputs)


def _weighted(gradients: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Sum examples' gradients [N, ...] times factors [K, B] by site: [K, ...]."""
    grouped = gradients.reshape(len(factors), -1, gradients[0].numel())
    total = torch.bmm(factors.unsqueeze(1), grouped)
    return total.view(len(factors), *gradients.shape[1:])


def _zeroed(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return values.masked_fill(rows.view(-1, *[1] * (values.dim() - 1)), 0)


def _grouped(values: torch.Tensor, rows: int) -> torch.Tensor:
    """View [N, ...] as [N / rows, rows, ...]."""
    return values.reshape(-1, rows, *values.shape[1:])


def _by_site(values: torch.Tensor, sites: int) -> torch.Tensor:
    """Bring [N, groups, T, d] into [K, groups, B · T, d]."""
    rows, groups, positions, width = values.shape
    each = values.view(sites, rows // sites, groups, positions, width)
    return each.transpose(1, 2).reshape(sites, groups, -1, width)


Maker = Callable[[torch.Tensor], Use]
"""Makes a use of the gradient of its output."""


@dataclass(slots=True)
class Tape:
    """What one forward pass has used of trainable weights.

    Parameters
    ----------
    sites, rows
        K, and the number N of rows: B for each site.
    """

    sites: int
    rows: int
    _edges: list[GradientEdge] = field(default_factory=list)
    _makers: list[list[tuple[str, Maker]]] = field(default_factory=list)

    def note(self, output: torch.Tensor, *uses: tuple[str, Maker]) -> torch.Tensor:
        """Note which weights an output was made with, by name, and return it.

        What is changed in place after that (by a ReLU, say) is the whole tensor behind a view: the
        view itself drops out of autograd's graph, and so the edge is the whole tensor's.
        """
        whole = output._base if output._is_view() else output
        if whole is None or (whole is not output and not _same_order(whole, output)):
            output = whole = output.clone()
        self._edges.append(get_gradient_edge(whole))
        self._makers.append([(name, _shaped(make, output.shape)) for name, make in uses])
        return output

    def backward(self, loss: torch.Tensor, scale: float) -> dict[str, list[Use]]:
        """Run the backward pass once; return each weight's uses, with gradients over `scale`."""
        found: dict[str, list[Use]] = {}
        if not self._edges:
            return found
        gradients: Sequence[torch.Tensor | None] = torch.autograd.grad(
            loss, self._edges, allow_unused=True
        )
        for gradient, makers in zip(gradients, self._makers, strict=True):
            if gradient is None:  # the loss does not depend on this output
                continue
            plain = unscaled(gradient.detach(), scale)
            for name, make in makers:
                found.setdefault(name, []).append(make(plain))
        return {name: _joined(uses) for name, uses in found.items()}


def unscaled(gradient: torch.Tensor, scale: float) -> torch.Tensor:
    """Return a gradient in fp32 as it is without the loss's scale."""
    return gradient.float() if scale == 1 else gradient.float() / scale


def _same_order(whole: torch.Tensor, view: torch.Tensor) -> bool:
    """Tell whether a view has all entries of a tensor, in their order."""
    return whole.numel() == view.numel() and whole.is_contiguous() and view.is_contiguous()


def _shaped(make: Maker, shape: torch.Size) -> Maker:
    return lambda gradient: make(gradient.reshape(shape))


def _joined(uses: list[Use]) -> list[Use]:
    """Join the uses of a weight that is used more than once: their gradients add up."""
    if len(uses) == 1:
        return uses
    products = [use for use in uses if isinstance(use, Product)]
    if len(products) == len(uses):
        return [
            Product(
                torch.cat([use.inputs for use in products], 2),
                torch.cat([use.outputs for use in products], 2),
                products[0].shape,
                products[0].inputs_last,
            )
        ]
    return [Direct(torch.stack([use.per_example() for use in uses]).sum(0))]
