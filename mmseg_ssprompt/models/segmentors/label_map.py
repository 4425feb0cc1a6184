"""Label maps of the original size without a score for each class at each pixel in memory."""

import math
from typing import Any, Callable, Tuple

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from ..heads.ssprompt_head import enlarge

__all__ = ['find_best_classes']

CLASSES_AT_A_TIME = 8


def find_best_classes(
    scores: Tensor, frame: Tuple[int, int], sample: SegDataSample, postprocess: Callable[..., Any]
) -> Tensor:
    """The class with the highest score at each pixel of the original image.

    What mmseg's ``postprocess_result`` gives for all classes at once, with 600 MB and more for 150
    classes at 1024 x 1024: here it sees a few at a time and keeps the best so far.

    Args:
        scores: (C, h, w) float, of one image at low resolution.
        frame: (H, W) of the padded input frame, to which scores are enlarged first.
        sample: Its ``metainfo`` says how to come from the frame to the original image.
        postprocess: ``BaseSegmentor.postprocess_result``.

    Returns:
        (1, H', W') int64, as large as the original image.
    """
    best = scores.new_tensor(-math.inf)
    label, offset = torch.zeros_like(best, dtype=torch.long), 0
    # Never one class alone, which mmseg would take for a binary problem.
    for chunk in scores.tensor_split(math.ceil(len(scores) / CLASSES_AT_A_TIME)):
        (result,) = postprocess(
            enlarge(chunk[None], frame), [SegDataSample(metainfo=sample.metainfo)]
        )
        value = result.seg_logits.data.amax(dim=0, keepdim=True)
        better = value > best
        label = torch.where(better, result.pred_sem_seg.data + offset, label)
        best = torch.where(better, value, best)
        offset += len(chunk)
    return label
