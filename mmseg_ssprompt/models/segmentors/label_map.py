"""Label maps of the original size without a score for each class at each pixel in memory."""

import math
from typing import Any, Callable, List, Tuple

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

__all__ = ['find_best_classes']

CLASSES_AT_A_TIME = 8


def find_best_classes(
    scores: Tensor,
    enlarge: Callable[[Tensor], Tensor],
    sample: SegDataSample,
    postprocess: Callable[..., Any],
) -> Tensor:
    """The class with the highest score at each pixel of the original image.

    What mmseg's ``postprocess_result`` gives for all classes at once, with 600 MB and more for 150
    classes at 1024 x 1024: here it sees a few classes at a time, of which only the best so far is
    kept. Enlarging, cropping and resizing treat each class by itself, so the labels are the same.

    Args:
        scores: (C, h, w) float, of one image at low resolution.
        enlarge: Takes (1, c, h, w) to the padded input frame (1, c, H, W).
        sample: Its ``metainfo`` says how to come from the frame to the original image.
        postprocess: ``BaseSegmentor.postprocess_result``.

    Returns:
        (1, H', W') int64, as large as the original image.
    """

    def find_best(chunk: Tensor) -> Tuple[Tensor, Tensor]:
        own = SegDataSample(metainfo=sample.metainfo)
        results: List[SegDataSample] = postprocess(enlarge(chunk[None]), [own])
        return results[0].seg_logits.data.amax(dim=0, keepdim=True), results[0].pred_sem_seg.data

    # Never one class alone, which mmseg would take for a binary problem.
    first, *others = scores.tensor_split(math.ceil(len(scores) / CLASSES_AT_A_TIME))
    best, label = find_best(first)
    offset = len(first)
    for chunk in others:
        value, index = find_best(chunk)
        better = value > best
        best = torch.where(better, value, best)
        label = torch.where(better, index + offset, label)
        offset += len(chunk)
    return label
