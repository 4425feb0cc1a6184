"""Label maps of the original size without a score for each class at each pixel in memory."""

import math
from functools import partial
from typing import Any, List, Mapping, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .resized_masks import find_padding, resize_masks

__all__ = ['find_best_classes', 'find_candidates']

#: The side of the tiles in which classes are compared, in places of the scores.
_TILE = 8
#: So many scores at most, of all classes at the larger size, are made at once.
_AT_ONCE = 1 << 20
#: Classes are compared in tiles where images have at least so many times the pixels of the scores.
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
    resize = partial(
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

    Bilinear interpolation stays within the range of the scores that surround a pixel. So in a tile,
    with what surrounds it, only those classes can be the highest whose maximum reaches the largest
    of all classes' minima.

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
    kernel = []
    for axis, before, after in ((1, top, bottom), (2, left, right)):
        own, whole = scores.shape[axis], frame[axis - 1]
        # A pixel depends on two adjacent ones of the frame, and these on so many scores.
        span = math.ceil(own / whole) + 2
        # What is seen only in the padding is not asked for.
        start = max(math.floor(before * own / whole) - span, 0)
        scores = scores.narrow(
            axis, start, min(math.ceil((whole - after) * own / whole) + span, own) - start
        )
        kernel.append(min(_TILE + span, scores.shape[axis]))
    highest, lowest = (
        F.max_pool2d(each[None], kernel, _TILE, ceil_mode=True)[0].flatten(1)
        for each in (scores, -scores)
    )
    surpassed = (-lowest).amax(dim=0)
    largest = torch.maximum(highest.amax(), lowest.amax())
    margin = _ROUNDED * torch.finfo(scores.dtype).eps * largest
    # Of NaN, which is not below anything, all are candidates.
    is_candidate = ~(highest + margin < surpassed).all(dim=1)
    found: List[int] = is_candidate.nonzero()[:, 0].tolist()
    return found
