"""Segments of an image: its objects and regions, each with a class, as true and as predicted.

A pixel's segment is a number in a map, and what is known of the segment is an entry of a list:

- What is true of a sample is ``gt_segments``, a ``PixelData`` with a map (1, H, W) int64 and
  ``segments_info`` (:class:`TrueSegment`). A pixel's number is the index of its entry, or -1 where
  the pixel is ignored (void).
- What was predicted is ``pred_panoptic_seg``, a ``PixelData`` with a map (1, H, W) int32 and
  ``segments_info`` (:class:`PredictedSegment`). A pixel's number is the ``id`` of an entry, or 0
  where nothing was predicted; and ``pred_instances``, an ``InstanceData`` with ``labels`` (n,),
  ``scores`` (n,), ``masks`` (n, H, W) bool and ``bboxes`` (n, 4), left, top, right, bottom.
- What the loss takes of a batch is :class:`Segments`.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, TypedDict

import numpy as np
import torch
from mmengine.structures import PixelData
from torch import Tensor

from .label_ids import LabelIds

__all__ = [
    'IGNORED',
    'LAST_ID',
    'NO_CLASS',
    'UNKNOWN',
    'PredictedSegment',
    'Segments',
    'TrueSegment',
    'find_large_segments',
    'make_gt_segments',
    'number_things',
    'renumber_segments',
    'segments_of_label_maps',
    'split_things',
]

#: The number of pixels that do not count, in true maps.
IGNORED = -1
#: The class of pixels that count and belong to no object, and of entries that only pad a batch.
NO_CLASS = -1
#: The greatest id that a segment may have in COCO's panoptic format: three bytes of a colour.
LAST_ID = 256**3 - 1
#: Is subtracted from labels that label maps may not hold, so that the loss can name them.
UNKNOWN = 1 << 32


class TrueSegment(TypedDict):
    """An object or a region of a sample, an entry of ``gt_segments.segments_info``."""

    id: int  # in the file of annotations
    category_id: int  # a class, from 0 to C - 1, or NO_CLASS
    iscrowd: int  # 1 where it is a group of objects, which neither the loss nor a metric counts
    area: int  # in pixels, as the file says; counted where it does not


class PredictedSegment(TypedDict):
    """An object or a region of a prediction, an entry of ``pred_panoptic_seg.segments_info``."""

    id: int  # in the map, from 1 on
    category_id: int  # a class, from 0 to C - 1
    isthing: bool
    area: int  # in pixels of the map
    score: float


class Segments(NamedTuple):
    """What the loss is shown of B images.

    A class of ``NO_CLASS`` is that of pixels which count and belong to no segment, and of entries
    that fill up the row of an image with fewer segments than another.
    """

    maps: Tensor  # (B, H, W) int64, the number of each pixel's segment, or IGNORED
    classes: Tensor  # (B, S) int64, the class of each segment


def make_gt_segments(segment_map: Any, segments_info: Sequence[TrueSegment]) -> PixelData:
    """What a sample holds as ``gt_segments``.

    Args:
        segment_map: (H, W) integer, an array or a tensor: indices into ``segments_info``, or
            ``IGNORED``.
        segments_info: An entry for each segment.
    """
    data = torch.as_tensor(segment_map).long()[None]
    return PixelData(metainfo=dict(segments_info=list(segments_info)), data=data)


def find_large_segments(numbers: np.ndarray, count: int, min_pixels: int) -> List[int]:
    """The segments that have at least so many pixels, in their order.

    Args:
        numbers: (H, W) integer: each pixel's segment, or ``IGNORED``.
        count: How many segments there are.
        min_pixels: With 0 all are found, also those without any pixel.
    """
    pixels = np.bincount(numbers[numbers >= 0], minlength=count)
    found: List[int] = np.flatnonzero(pixels >= min_pixels).tolist()
    return found


def renumber_segments(numbers: np.ndarray, kept: Sequence[int], count: int) -> np.ndarray:
    """A map in which some segments remain, numbered from 0 in their order; others are ignored.

    Args:
        numbers: (H, W) integer: each pixel's segment, or ``IGNORED``.
        kept: The segments that remain.
        count: How many segments there are.

    Returns:
        (H, W), of the same integer type.
    """
    table = np.full(count + 1, IGNORED, numbers.dtype)  # the last for IGNORED, which is -1
    table[list(kept)] = np.arange(len(kept))
    return np.asarray(table[numbers])


def split_things(classes: Sequence[str], things: Sequence[str]) -> Dict[str, Tuple[str, ...]]:
    """``thing_classes`` and ``stuff_classes`` of a data set's metainfo, in the order of classes."""
    return dict(
        thing_classes=tuple(name for name in classes if name in things),
        stuff_classes=tuple(name for name in classes if name not in things),
    )


def number_things(classes: Sequence[str], things: Optional[Sequence[str]]) -> List[int]:
    """The numbers of the classes that are things.

    Args:
        classes: All names.
        things: Those of things, as ``thing_classes`` of a data set's metainfo; None where it does
            not say, which are all.
    """
    names = list(classes)
    return [names.index(name) for name in (names if things is None else things)]


def segments_of_label_maps(label_maps: Tensor, label_ids: LabelIds) -> Segments:
    """The segments of label maps: each class is one, in the order of the classes.

    With one class the rest is a segment of ``NO_CLASS``. A label that is none of ``label_ids``
    becomes ``label - UNKNOWN``: the loss raises the error, as finding it here would wait for the
    device.

    Args:
        label_maps: (B, H, W) integer.
        label_ids: Which numbers they hold.
    """
    labels = label_maps.long()
    start, count = label_ids.classes.start, label_ids.num_classes
    maps = torch.where(label_ids.find_unknown(labels), labels - UNKNOWN, labels - start)
    maps = maps.masked_fill(labels == label_ids.ignore_index, IGNORED)
    classes = torch.arange(count, device=labels.device)
    if label_ids.rest_id is not None:
        maps = maps.masked_fill(labels == label_ids.rest_id, count)
        classes = torch.cat([classes, classes.new_full((1,), NO_CLASS)])
    return Segments(maps, classes.expand(len(labels), -1))
