"""Convolutions with a kernel for each site."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.nn import functional

from tacit.learning.stacked.tape import Product


def convolve(
    input: torch.Tensor,
    kernels: torch.Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> tuple[torch.Tensor, Callable[[torch.Tensor], Product]]:
    """Convolve each site's images with its own kernels: one convolution in K times the groups.

    Channels lie last in memory throughout: rows, sites and patches are then copied in runs, and
    what follows (a pooling, say) is faster on a CPU.

    Parameters
    ----------
    input
        [K, B, channels, *extent], of one or two dimensions of extent.
    kernels
        [K, out, channels / groups, *kernel].
    stride, padding, dilation, groups
        As torch's convolutions take them.

    Returns
    -------
    output : Tensor
        [K · B, out, *extent].
    product
        Makes the kernels' use of the output's gradient.
    """
    sites, batch, channels, *extent = input.shape
    out, dims = kernels.shape[1], len(extent)
    plain = functional.conv1d if dims == 1 else functional.conv2d
    by_row = input.movedim(2, -1).movedim(0, -2)  # [B, *extent, K, channels]
    stacked = by_row.reshape(batch, *extent, sites * channels).movedim(-1, 1)
    found = plain(stacked, kernels.flatten(0, 1), None, stride, padding, dilation, sites * groups)
    by_row = found.movedim(1, -1).reshape(batch, *found.shape[2:], sites, out)
    by_site = by_row.movedim(-2, 0)
    output = by_site.reshape(sites * batch, *found.shape[2:], out).movedim(-1, 1)
    kept = input.detach()

    def product(gradient: torch.Tensor) -> Product:
        rows = sites * batch
        flat = kept.reshape(rows, channels, *extent).float()
        patches = _patches(flat, kernels.shape[3:], stride, padding, dilation, groups)
        outputs = gradient.movedim(1, -1).reshape(rows, -1, groups, out // groups)
        return Product(patches, outputs.transpose(1, 2), kernels.shape[1:], inputs_last=True)

    return output, product


def _patches(
    input: torch.Tensor, kernel: torch.Size, stride: Any, padding: Any, dilation: Any, groups: int
) -> torch.Tensor:
    """Cut images [N, channels, *extent] into what a kernel sees: [N, groups, T, kernel · channels].

    Views of one padded image with channels last, copied once: torch's `unfold` takes twice as long
    on a CPU, and so do views with channels first.
    """
    dims = len(kernel)
    strides, dilations = _each_dim(stride, dims), _each_dim(dilation, dims)
    before_after = _padding(padding, kernel, dilations)
    sides = [side for pair in reversed(before_after) for side in pair]
    padded = functional.pad(input.movedim(1, -1), [0, 0, *sides]).contiguous()
    rows, *extent, channels = padded.shape
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    steps = [(e - r) // s + 1 for e, r, s in zip(extent, reach, strides, strict=True)]
    of_rows, *of_extent, _ = padded.stride()
    width = channels // groups
    view = padded.as_strided(
        (rows, groups, *steps, *kernel, width),
        (
            of_rows,
            width,
            *(e * s for e, s in zip(of_extent, strides, strict=True)),
            *(e * d for e, d in zip(of_extent, dilations, strict=True)),
            1,
        ),
    )
    return view.reshape(rows, groups, prod(steps), prod(kernel) * width)


def _padding(padding: Any, kernel: torch.Size, dilations: list[int]) -> list[tuple[int, int]]:
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        return [(t // 2, t - t // 2) for t in total]
    return [(p, p) for p in _each_dim(padding, len(kernel))]


def _each_dim(value: Any, dims: int) -> list[int]:
    if isinstance(value, int):
        return [value] * dims
    values = [int(v) for v in value]
    return values if len(values) == dims else values * dims
