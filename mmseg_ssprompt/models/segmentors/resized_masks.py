"""Masks at the size of the photograph."""

from typing import Any, Mapping, Tuple

import torch.nn.functional as F
from torch import Tensor

from ..heads.ssprompt_head import enlarge

__all__ = ['resize_masks']


def resize_masks(
    masks: Tensor, frame: Tuple[int, int], metainfo: Mapping[str, Any], bicubic: bool = True
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

    Returns:
        (N, H', W'), as large as the photograph.
    """
    padding = metainfo.get('img_padding_size', metainfo.get('padding_size', [0] * 4))
    left, right, top, bottom = padding
    enlarged = enlarge(masks[None], frame)
    cropped = enlarged[..., top : frame[0] - bottom, left : frame[1] - right]
    if metainfo.get('flip'):
        cropped = cropped.flip(-1 if metainfo['flip_direction'] == 'horizontal' else -2)
    size = tuple(metainfo['ori_shape'])[:2]
    mode = 'bicubic' if bicubic else 'bilinear'
    resized = F.interpolate(cropped, size=size, mode=mode, align_corners=False, antialias=bicubic)
    return resized[0]
