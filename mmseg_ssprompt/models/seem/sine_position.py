"""The sine encoding of places that SEEM adds to feature maps, which is DETR's."""

import math

import torch
from torch import Tensor

__all__ = ['encode_places']

_TEMPERATURE = 10000.0
_EPS = 1e-6  # DETR's, beside the number of rows or columns


def encode_places(like: Tensor) -> Tensor:
    """Encode the places of a feature map.

    The first half of the channels is of the row and the second of the column, each as a share of
    their number, times 2 pi; sines and cosines of falling frequencies alternate.

    Args:
        like: (B, D, h, w), whose sizes count; ``D`` is a multiple of 4.

    Returns:
        (D, h, w) float32, on the same device.
    """
    dims, height, width = like.shape[1:]
    half = torch.arange(dims // 2, dtype=torch.float32, device=like.device)
    periods = _TEMPERATURE ** (2 * torch.div(half, 2, rounding_mode='floor') / (dims // 2))
    rows = _encode_axis(height, periods)[:, :, None].expand(-1, -1, width)
    columns = _encode_axis(width, periods)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])


def _encode_axis(length: int, periods: Tensor) -> Tensor:
    """(D / 2, length)."""
    places = torch.arange(1, length + 1, dtype=torch.float32, device=periods.device)
    angles = places / (length + _EPS) * (2 * math.pi) / periods[:, None]
    return torch.stack([angles[0::2].sin(), angles[1::2].cos()], dim=1).flatten(0, 1)
