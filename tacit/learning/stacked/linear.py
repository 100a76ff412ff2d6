"""Linear layers with a matrix for each site."""

from typing import Any

import torch


def multiply(rows: torch.Tensor, matrices: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Multiply each site's rows [K, T, d] by its own matrix [K, p, d], plus its bias [K, 1, p]."""
    found: torch.Tensor = _Multiply.apply(rows, matrices, bias)  # type: ignore[no-untyped-call]
    return found


class _Multiply(torch.autograd.Function):
    """torch's own product would give a matrix's gradient transposed, to be copied into order."""

    @staticmethod
    def forward(
        context: Any, input: torch.Tensor, matrices: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        context.save_for_backward(input, matrices)
        if bias is None:
            return torch.bmm(input, matrices.mT)
        return torch.baddbmm(bias, input, matrices.mT)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        input, matrices = context.saved_tensors
        of_input, of_matrices, of_bias = context.needs_input_grad
        return (
            torch.bmm(gradient, matrices) if of_input else None,
            torch.bmm(gradient.mT, input) if of_matrices else None,
            gradient.sum(1, keepdim=True) if of_bias else None,
        )
