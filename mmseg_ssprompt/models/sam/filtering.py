"""The last layer of SAM's upscaling and its product with mask filters, a tile at a time."""

from typing import Any, Iterator, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..base.exporting import is_exporting
from ..base.linear import is_autocast, project_by

__all__ = ['upscale_and_filter']

#: Numbers of the largest tensor of a tile. On CPUs it stays in the cache of a core, and is memory
#: that malloc gives again; a GPU wants few launches.
_TILE = dict(cpu=2**18, cuda=2**26)


def upscale_and_filter(x: Tensor, weight: Tensor, bias: Tensor, filters: Tensor) -> Tensor:
    """``gelu(x weight^T + bias)`` in Q groups of channels, and their products with filters.

    What is between them has four times the numbers of ``x``, or twice those of an image stream. So
    neither masks nor gradients ever need all of it, nor is it kept. Where the weight
    trains, in lower precisions and in an export it is computed as a whole.

    Args:
        x: (P, L, C).
        weight: (Q * E, C).
        bias: (Q * E,).
        filters: (P, M, E), of each of P prompts.

    Returns:
        (P, L * Q, M).
    """
    if (
        is_exporting()
        or is_autocast(x.device.type)
        or (torch.is_grad_enabled() and (weight.requires_grad or bias.requires_grad))
    ):
        upscaled = F.gelu(project_by(x, weight, bias))
        pixels: Tensor = upscaled.flatten(1).unflatten(1, (-1, filters.shape[-1]))
        return pixels @ filters.transpose(1, 2)
    filtered: Tensor = _UpscaleAndFilter.apply(x, weight, bias, filters)
    return filtered


class _UpscaleAndFilter(torch.autograd.Function):
    """:func:`upscale_and_filter` with gradients of ``x`` and ``filters``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, filters: Tensor) -> Tensor:
        """Filter each tile while it is there."""
        groups = len(weight) // filters.shape[-1]
        out = x.new_empty(len(x), x.shape[1] * groups, filters.shape[1])
        for prompts, places in _tiles(x, weight):
            upscaled = F.gelu(_linear(x[prompts, places], weight, bias))
            pixels = slice(places.start * groups, places.stop * groups)
            upscaled = upscaled.view(len(upscaled), -1, filters.shape[-1])
            # This way round a single mask is a product of matrix and vector that is fast.
            out[prompts, pixels] = (filters[prompts] @ upscaled.transpose(1, 2)).transpose(1, 2)
        ctx.save_for_backward(x, weight, bias, filters)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tuple[Tensor, None, None, Tensor]:
        """Compute each tile again, and its gradients."""
        x, weight, bias, filters = ctx.saved_tensors
        groups = len(weight) // filters.shape[-1]
        of_x, of_filters = torch.empty_like(x), torch.zeros_like(filters)
        for prompts, places in _tiles(x, weight):
            before = _linear(x[prompts, places], weight, bias)  # (p, l, Q * E)
            pixels = slice(places.start * groups, places.stop * groups)
            slope = gradient[prompts, pixels]  # (p, l * Q, M)
            upscaled = F.gelu(before).view(len(before), -1, filters.shape[-1])
            of_filters[prompts] += slope.transpose(1, 2) @ upscaled
            slope = _times(slope, filters[prompts]).view_as(before)
            slope = torch.ops.aten.gelu_backward(slope, before)
            of_x[prompts, places] = slope @ weight
        return of_x, None, None, of_filters


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    # Added in place: torch would write the bias to all places before the product.
    return F.linear(x, weight).add_(bias)


def _times(slope: Tensor, filters: Tensor) -> Tensor:
    """(p, l, M) and (p, M, E) -> (p, l, E)."""
    return slope * filters if filters.shape[1] == 1 else slope @ filters


def _tiles(x: Tensor, weight: Tensor) -> Iterator[Tuple[slice, slice]]:
    """Slices of prompts and of places, which cover ``x`` (P, L, C)."""
    most = max(_TILE.get(x.device.type, _TILE['cuda']) // len(weight), 1)  # of places
    prompts = max(most // x.shape[1], 1)
    for start in range(0, len(x), prompts):
        for place in range(0, x.shape[1], most):
            yield (
                slice(start, min(start + prompts, len(x))),
                slice(place, min(place + most, x.shape[1])),
            )
