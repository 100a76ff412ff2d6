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
    dims = len(extent)
    plain = functional.conv1d if dims == 1 else functional.conv2d
    stacked = input.transpose(0, 1).reshape(batch, sites * channels, *extent)
    found = plain(stacked, kernels.flatten(0, 1), None, stride, padding, dilation, sites * groups)
    out = kernels.shape[1]
    output = found.view(batch, sites, out, *found.shape[2:]).transpose(0, 1)
    kept = input.detach()

    def product(gradient: torch.Tensor) -> Product:
        rows = sites * batch
        flat = kept.reshape(rows, channels, *extent).float()
        patches = _patches(flat, kernels.shape[3:], stride, padding, dilation, groups)
        outputs = gradient.reshape(rows, groups, out // groups, -1).mT
        return Product(patches, outputs, kernels.shape[1:])

    return output.reshape(sites * batch, out, *found.shape[2:]), product


def _patches(
    input: torch.Tensor, kernel: torch.Size, stride: Any, padding: Any, dilation: Any, groups: int
) -> torch.Tensor:
    """Cut images [N, channels, *extent] into what a kernel sees: [N, groups, T, channels · kernel].

    Views of one padded image, copied once: torch's `unfold` takes twice as long on a CPU.
    """
    dims = len(kernel)
    strides, dilations = _each_dim(stride, dims), _each_dim(dilation, dims)
    before_after = _padding(padding, kernel, dilations)
    padded = functional.pad(input, [side for pair in reversed(before_after) for side in pair])
    rows, channels, *extent = padded.shape
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    steps = [(e - r) // s + 1 for e, r, s in zip(extent, reach, strides, strict=True)]
    padded = padded.contiguous()
    of_rows, of_channels, *of_extent = padded.stride()
    width = channels // groups
    view = padded.as_strided(
        (rows, groups, *steps, width, *kernel),
        (
            of_rows,
            of_channels * width,
            *(e * s for e, s in zip(of_extent, strides, strict=True)),
            of_channels,
            *(e * d for e, d in zip(of_extent, dilations, strict=True)),
        ),
    )
    positions, entries = prod(steps), width * prod(kernel)
    return view.reshape(rows, groups, positions, entries)


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
