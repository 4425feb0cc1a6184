"""Scores from masks that are brought to the size of the photograph first, as SEEM does."""

from typing import Any, Mapping, Tuple

import torch.nn.functional as F
from torch import Tensor

from ..heads.ssprompt_head import HeadOutput, SSPromptHead, enlarge

__all__ = ['resize_masks', 'score_resized_masks']

MASKS_AT_A_TIME = 8


def resize_masks(masks: Tensor, frame: Tuple[int, int], metainfo: Mapping[str, Any]) -> Tensor:
    """Bring mask logits to the size of the photograph in SEEM's two steps.

    First to the padded frame, bilinearly; and from what is left without its padding to the size of
    the photograph, bicubically with antialiasing.

    Args:
        masks: (N, h, w) float, mask logits of one image.
        frame: (H, W) of the padded input frame, in pixels.
        metainfo: Of its data sample: ``ori_shape``, padding, and whether the image was flipped.

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
    resized = F.interpolate(cropped, size=size, mode='bicubic', align_corners=False, antialias=True)
    return resized[0]


def score_resized_masks(
    output: HeadOutput, frame: Tuple[int, int], metainfo: Mapping[str, Any]
) -> Tensor:
    """:meth:`SSPromptHead.semantic_scores` of one image, with masks from :func:`resize_masks`.

    A few masks at a time are in memory at the size of the photograph.

    Args:
        output: Masks (1, N, h, w) and class logits (1, N, C + 1).
        frame: As for :func:`resize_masks`.
        metainfo: As for :func:`resize_masks`.

    Returns:
        (C, H', W').
    """
    (masks,), (logits,) = output
    total: Any = 0
    for some, their_logits in zip(masks.split(MASKS_AT_A_TIME), logits.split(MASKS_AT_A_TIME)):
        resized = resize_masks(some, frame, metainfo)
        total = total + SSPromptHead.semantic_scores(HeadOutput(resized[None], their_logits[None]))
    scores: Tensor = total[0]
    return scores
