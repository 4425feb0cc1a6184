"""Label maps of the original size without a score for each class at each pixel in memory."""

import functools
import math
from typing import Any, Callable, List, Mapping, Sequence, Tuple

import torch
from torch import Tensor

from .resized_masks import find_padding, resize_masks

__all__ = ['find_best_classes', 'find_candidates']

#: Classes that are compared at a time, so that they stay in the cache.
_COMPARED = 8
#: So many scores at most, of all classes at the larger size, are made at once.
_AT_ONCE = 1 << 22
#: Classes are compared where images have at least so many times the pixels of the scores.
_ENLARGED = 4
#: What two interpolations may add to the largest of their inputs, in units of its last place; they
#: have about ten rounded operations.
_ROUNDED = 32


def find_best_classes(
    scores: Tensor, frame: Tuple[int, int], metainfo: Mapping[str, Any], align_corners: bool = False
) -> Tensor:
    """The class with the highest score at each pixel of the original image.

    What mmseg's ``postprocess_result`` gives for all classes at once, with 600 MB and more for 150
    classes at 1024 x 1024: here one class after another is resized, and the best so far is kept;
    classes that have the highest score nowhere (:func:`find_candidates`) are passed over. Of equal
    scores the first is the highest, and NaN never is.

    Args:
        scores: (C, h, w) float, of one image at low resolution.
        frame: (H, W) of the padded input frame, to which scores are enlarged first.
        metainfo: Of its data sample; it says how to come from the frame to the original image.
        align_corners: Of the interpolation to the original image. Defaults to False.

    Returns:
        (1, H', W') int64, as large as the original image.
    """
    size = tuple(metainfo['ori_shape'])[:2]
    resize = functools.partial(
        resize_masks, frame=frame, metainfo=metainfo, bicubic=False, align_corners=align_corners
    )
    if len(scores) * max(math.prod(frame), math.prod(size)) <= _AT_ONCE:
        # torch rounds differently in small images of several classes: equal scores stay equal so.
        return resize(scores).nan_to_num(-math.inf, math.inf, -math.inf).argmax(0, keepdim=True)
    best = scores.new_full((1, *size), -math.inf)
    label = torch.zeros_like(best, dtype=torch.int16 if len(scores) < 1 << 15 else torch.long)
    for number in find_candidates(scores, frame, metainfo):
        # By itself a class has a few MB, which stay in the heap and partly in the cache.
        score = resize(scores[number : number + 1])
        label.masked_fill_(score > best, number)
        torch.fmax(best, score, out=best)  # of a number and NaN the number
    return label.long()


def find_candidates(
    scores: Tensor, frame: Tuple[int, int], metainfo: Mapping[str, Any]
) -> List[int]:
    """The classes that may have the highest score at a pixel of the original image, in their order.

    Bilinear interpolation stays within the range of the scores that it sees of a class. So only
    those classes can be the highest at a pixel whose maximum, in a window that holds all scores on
    which the pixel depends, reaches the largest of all classes' minima there.

    Args:
        scores: (C, h, w) float, of one image at low resolution.
        frame: (H, W) of the padded input frame.
        metainfo: Of its data sample.

    Returns:
        Numbers of classes; all of them where the image is hardly larger than the scores, because
        comparing them would take as long as resizing.
    """
    pixels = max(math.prod(frame), math.prod(tuple(metainfo['ori_shape'])[:2]))
    if _ENLARGED * scores[0].numel() > pixels:
        return list(range(len(scores)))
    left, right, top, bottom = find_padding(metainfo)
    window = []
    for axis, before, after in ((1, top, bottom), (2, left, right)):
        own, whole = scores.shape[axis], frame[axis - 1]
        # A pixel depends on two adjacent ones of the frame, and these on so many scores; one more,
        # because places are rounded too.
        span = math.ceil(own / whole) + 3
        # What is seen only in the padding is not asked for.
        start = max(math.floor(before * own / whole) - span, 0)
        end = min(math.ceil((whole - after) * own / whole) + span, own)
        scores = scores.narrow(axis, start, end - start)
        window.append(min(span, end - start))
    parts, surpassed = scores.split(_COMPARED), scores.new_tensor(-math.inf)
    for part in parts:
        lowest = _reduce_windows(torch.minimum, part, window).amax(dim=0)
        surpassed = torch.maximum(surpassed, lowest)
    surpassed = surpassed - _ROUNDED * torch.finfo(scores.dtype).eps * scores.abs().amax()
    # Of NaN, which is not below anything, all are candidates.
    is_passed_over = torch.cat(
        [(_reduce_windows(torch.maximum, part, window) < surpassed).all(2).all(1) for part in parts]
    )
    found: List[int] = (~is_passed_over).nonzero()[:, 0].tolist()
    return found


def _reduce_windows(
    reduce: Callable[[Tensor, Tensor], Tensor], x: Tensor, window: Sequence[int]
) -> Tensor:
    """The largest or smallest number of each window, (C, h, w) -> (C, h - height + 1, ...)."""
    for axis, span in enumerate(window, start=1):
        count = x.shape[axis] - span + 1
        x = functools.reduce(reduce, [x.narrow(axis, start, count) for start in range(span)])
    return x
