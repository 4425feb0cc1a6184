"""Masks at the size of the photograph."""

from typing import Any, Mapping, Sequence, Tuple

import torch.nn.functional as F
from torch import Tensor

from ..heads.ssprompt_head import enlarge

__all__ = ['find_padding', 'resize_masks']


def find_padding(metainfo: Mapping[str, Any]) -> Sequence[int]:
    """What was added to an image on the left, right, top and bottom of the frame, in pixels."""
    padding: Sequence[int] = metainfo.get('img_padding_size', metainfo.get('padding_size', [0] * 4))
    return padding


def resize_masks(
    masks: Tensor,
    frame: Tuple[int, int],
    metainfo: Mapping[str, Any],
    bicubic: bool = True,
    align_corners: bool = False,
) -> Tensor:
    """Bring mask logits to the size of the photograph in two steps.

    First to the padded frame, bilinearly; and from what is left without its padding to the size of
    the photograph: bicubically with antialiasing, as SEEM does, or bilinearly, as SAM does, and
    mmseg with scores.

    Args:
        masks: (N, h, w) float, mask logits of one image.
        frame: (H, W) of the padded input frame, in pixels.
        metainfo: Of its data sample: ``ori_shape``, padding, and whether the image was flipped.
        bicubic: The second step. Defaults to True.
        align_corners: Of a bilinear second step. Defaults to False.

    Returns:
        (N, H', W'), as large as the photograph.
    """
    left, right, top, bottom = find_padding(metainfo)
    # Bilinear interpolation to the same size would return each number as it is.
    enlarged = masks[None] if masks.shape[1:] == frame else enlarge(masks[None], frame)
    cropped = enlarged[..., top : frame[0] - bottom, left : frame[1] - right]
    if metainfo.get('flip'):
        cropped = cropped.flip(-1 if metainfo['flip_direction'] == 'horizontal' else -2)
    size = tuple(metainfo['ori_shape'])[:2]
    if bicubic:
        return F.interpolate(
            cropped, size=size, mode='bicubic', align_corners=False, antialias=True
        )[0]
    if cropped.shape[2:] == size:
        return cropped[0]
    return F.interpolate(cropped, size=size, mode='bilinear', align_corners=align_corners)[0]
