"""From tokens and an image stream to masks, with the weights of SAM's mask decoder."""

from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from ..base.linear import project_by
from .filtering import upscale_and_filter

__all__ = ['mask_filters', 'masks_of_one', 'masks_of_shared']


def mask_filters(
    decoder: MaskDecoder, queries: Tensor, token_indices: Sequence[int], carried: Sequence[int]
) -> Tuple[Tensor, Tensor, Tensor]:
    """What tokens (..., G, D) say of masks.

    Returns:
        Filters (..., M, D / 8), output mask tokens (..., M, D), IoU predictions (..., 4).
    """
    positions = [1 + tuple(carried).index(index) for index in token_indices]
    mask_tokens = queries[..., positions, :]
    filters = [
        decoder.output_hypernetworks_mlps[index](mask_tokens[..., i, :])
        for i, index in enumerate(token_indices)
    ]
    iou = decoder.iou_prediction_head(queries[..., 0, :])
    return torch.stack(filters, dim=-2), mask_tokens, iou


def masks_of_shared(
    decoder: MaskDecoder, image: Tensor, size: Tuple[int, int], filters: Tensor
) -> Tensor:
    """Masks of all prompts on an image stream that they share.

    Args:
        decoder: Its weights.
        image: (B, hw, D).
        size: ``h`` and ``w``.
        filters: (B, N * M, D / 8).

    Returns:
        (B, N * M, 4h, 4w).
    """
    # One image has fewer channels than there are masks, so places change order before the product.
    upscaled = _to_rows_of_pixels(_upscale(decoder, image), size)  # (B, 4h, 4w, D / 8)
    masks: Tensor = filters @ upscaled.flatten(1, 2).transpose(1, 2)
    masks = masks.unflatten(-1, upscaled.shape[1:3])
    return masks


def masks_of_one(
    decoder: MaskDecoder, image: Tensor, size: Tuple[int, int], filters: Tensor
) -> Tensor:
    """Masks of prompts that have an image stream each: as :func:`masks_of_shared` with P for B."""
    second = decoder.output_upscaling[3]
    x = _upscale_once(decoder, image).flatten(1, 2)  # (P, 4hw, D / 4)
    # Here there are fewer masks than channels, so masks change order.
    masks = upscale_and_filter(x, *_as_linear(second), filters)  # (P, 16hw, M)
    rows = _to_rows_of_pixels(masks.unflatten(1, (-1, 4, 4)), size)  # (P, 4h, 4w, M)
    return rows.permute(0, 3, 1, 2)


def _upscale(decoder: MaskDecoder, image: Tensor) -> Tensor:
    """The official upscaling, without a transpose of its large tensors.

    A transposed convolution of 2 x 2 with stride 2 is a linear layer from each place to its four
    pixels. So channels stay last, as attention has them and as layer norm wants them.

    Args:
        decoder: Its weights.
        image: (B, hw, D).

    Returns:
        (B, hw, 4, 4, D / 8): each place's quarters and their pixels, from left to right and from
        top to bottom.
    """
    return F.gelu(_to_quarters(decoder.output_upscaling[3], _upscale_once(decoder, image)))


def _upscale_once(decoder: MaskDecoder, image: Tensor) -> Tensor:
    """The first half of :func:`_upscale`: (B, hw, D) -> (B, hw, 4, D / 4)."""
    first, norm = decoder.output_upscaling[:2]
    # Sizes, epsilon and formula of the official LayerNorm2d, over the channels.
    x = F.layer_norm(
        _to_quarters(first, image), norm.weight.shape, norm.weight, norm.bias, norm.eps
    )
    return F.gelu(x)


def _to_quarters(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """(..., D) -> (..., 4, D')."""
    quarters: Tensor = project_by(x, *_as_linear(layer)).unflatten(-1, (4, -1))
    return quarters


def _as_linear(layer: nn.ConvTranspose2d) -> Tuple[Tensor, Tensor]:
    """Weight (4 * D', D) and bias (4 * D',) of the linear layer that it is."""
    assert layer.bias is not None
    return layer.weight.permute(2, 3, 1, 0).flatten(0, 2), layer.bias.repeat(4)


def _to_rows_of_pixels(x: Tensor, size: Tuple[int, int]) -> Tensor:
    """(B, hw, 4, 4, C) of places and their pixels -> (B, 4h, 4w, C)."""
    height, width = size
    x = x.unflatten(1, (height, width)).unflatten(-3, (2, 2)).unflatten(-2, (2, 2))
    x = x.permute(0, 1, 3, 5, 2, 4, 6, 7)  # (B, h, 2, 2, w, 2, 2, C)
    return x.reshape(x.shape[0], 4 * height, 4 * width, x.shape[-1])
