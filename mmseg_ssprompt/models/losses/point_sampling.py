"""Points at which masks are compared: drawn from labelled pixels, read as interpolation would."""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['draw_labelled_points', 'sample_masks']

#: Size of a mask from which CPUs read one after another. torch goes from mask to mask for a few
#: points at a time, and so out of the cache, and gives each image to one thread: 20 against 8 ms
#: for 101 masks of 128 x 256 on one thread.
_MIN_PIXELS = 2**13


def draw_labelled_points(
    label_maps: Tensor, num_points: int, ignore_index: int
) -> Tuple[Tensor, Tensor]:
    """Draw labelled pixels of each image, with replacement, without waiting for the device.

    Args:
        label_maps: (B, H, W) integer.
        num_points: ``P``, points in each image.
        ignore_index: Label of pixels that are never drawn. An image in which no other label
            occurs gets points with this label.

    Returns:
        Coordinates x, y in [0, 1] (B, P, 2) float, and labels (B, P) int64.
    """
    width, height = label_maps.shape[-1], label_maps.shape[-2]
    labels = label_maps.flatten(1).long()
    counts = (labels != ignore_index).cumsum(dim=1)  # (B, HW); rises by one at a labelled pixel
    total = counts[:, -1:]
    drawn = (torch.rand(len(labels), num_points, device=labels.device) * total).long()
    drawn = torch.minimum(drawn, total - 1)  # rand * total may round up to total
    pixels = torch.searchsorted(counts, drawn + 1)
    x = (pixels % width + 0.5) / width
    y = (torch.div(pixels, width, rounding_mode='floor') + 0.5) / height
    return torch.stack([x, y], dim=-1), labels.gather(1, pixels)


def sample_masks(masks: Tensor, coordinates: Tensor) -> Tensor:
    """Read masks at points, as ``F.interpolate`` would at the same places.

    Args:
        masks: (B, N, h, w) float.
        coordinates: (B, P, 2) float, x and y in [0, 1].

    Returns:
        (B, N, P) float.
    """
    grid = (2 * coordinates - 1).unsqueeze(2)  # (B, P, 1, 2)
    if masks.device.type == 'cpu' and masks.shape[-2] * masks.shape[-1] >= _MIN_PIXELS:
        apart = masks.flatten(0, 1).unsqueeze(1)  # (B * N, 1, h, w)
        grid = grid.unsqueeze(1).expand(-1, masks.shape[1], -1, -1, -1).flatten(0, 1)
        sampled = F.grid_sample(apart, grid, padding_mode='border', align_corners=False)
        return sampled.view(*masks.shape[:2], coordinates.shape[1])
    sampled = F.grid_sample(masks, grid, padding_mode='border', align_corners=False)
    return sampled.squeeze(3)
