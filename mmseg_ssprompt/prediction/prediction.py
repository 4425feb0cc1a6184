"""What was predicted of a picture: plain arrays that a notebook can show."""

import io
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np
from mmseg.structures import SegDataSample
from PIL import Image

from ..datasets.coco_masks import draw_mask
from ..evaluation.run_lengths import pack_mask
from ..label_ids import LabelIds
from ..segment_drawing import DrawnSegment, draw_segments, enlarge_picture

__all__ = [
    'MIN_SCORE',
    'FoundObject',
    'ModelFacts',
    'Prediction',
    'find_objects',
    'find_void_id',
    'list_regions',
    'paint_objects',
    'read_objects',
]

#: Objects with a lower score are in no label map and no picture; lists have them.
MIN_SCORE = 0.3
#: The longest side of an overlay, in pixels: it is there to be looked at.
_OVERLAY = 2048


class ModelFacts(NamedTuple):
    """What all predictions of a model have in common.

    Attributes:
        classes: Names by the numbers in label maps.
        palette: Colours by the numbers in label maps, RGB from 0 to 255.
        label_ids: Which numbers these are.
    """

    classes: Tuple[str, ...]
    palette: Sequence[Sequence[int]]
    label_ids: LabelIds

    @property
    def categories(self) -> List[Dict[str, Any]]:
        """The classes as COCO's files have them, with ids from 1 on."""
        names = [self.classes[number] for number in self.label_ids.classes]
        return [dict(id=index + 1, name=name) for index, name in enumerate(names)]


class FoundObject(NamedTuple):
    """An object, or a region of a panoptic map.

    Attributes:
        label: The number of its class, from 0 on.
        is_thing: Whether it is an object, and not a region.
        score: From 0 to 1.
        place: Top and left of its box in the picture, in pixels.
        mask: (h, w) bool, in its box.
    """

    label: int
    is_thing: bool
    score: float
    place: Tuple[int, int]
    mask: np.ndarray

    def on_canvas(self, size: Tuple[int, int]) -> np.ndarray:
        """Its mask in the whole picture, (H, W) bool."""
        canvas = np.zeros(size, bool)
        top, left = self.place
        height, width = self.mask.shape
        canvas[top : top + height, left : left + width] = self.mask
        return canvas


class Prediction:
    """What was predicted of a picture.

    Args:
        name: Of the picture.
        label_map: (H, W) uint8, or uint16 above 255 classes.
        facts: Of the model.
        reduce: Makes the picture of a smaller size: takes (h, w), gives (h, w, 3) uint8, red first.
        objects: What else was found. Defaults to None: the model predicts label maps alone.

    Attributes:
        name, label_map, objects: As given.
        classes: Names by the numbers in the label map.
        palette: Colours by the numbers in the label map, RGB from 0 to 255.
        void_id: The number of pixels where nothing was predicted.
    """

    def __init__(
        self,
        name: str,
        label_map: np.ndarray,
        facts: ModelFacts,
        reduce: Callable[[Tuple[int, int]], np.ndarray],
        objects: Optional[List[FoundObject]] = None,
    ) -> None:
        self.name, self.label_map, self.objects = name, label_map, objects
        self.classes, self.palette = facts.classes, facts.palette
        self.void_id = find_void_id(facts.label_ids)
        self._facts, self._reduce = facts, reduce

    def __repr__(self) -> str:
        height, width = self.label_map.shape
        return f'Prediction({self.name!r}, {height} x {width}, {", ".join(self.shares())})'

    def shares(self) -> Dict[str, float]:
        """The share of pixels of each class that was found, by name, the largest first."""
        counts = np.bincount(self.label_map.reshape(-1), minlength=len(self.classes))
        found = [number for number in self._facts.label_ids.counted if counts[number]]
        found.sort(key=lambda number: -counts[number])
        return {self.classes[n]: float(counts[n]) / self.label_map.size for n in found}

    def overlay(self, alpha: float = 0.6, longest: int = _OVERLAY) -> np.ndarray:
        """The picture with what was found drawn over it, and the name of each class.

        Args:
            alpha: Weight of the colours, from 0 to 1. Defaults to 0.6.
            longest: What its longest side is at most, in pixels; very small pictures are enlarged.
                Defaults to 2048.

        Returns:
            (h, w, 3) uint8, RGB.
        """
        size = self.label_map.shape
        factor = min(1.0, longest / max(size))
        small = max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)
        picture = enlarge_picture(self._reduce(small))
        segments, first = self._list_segments(), self._facts.label_ids.classes.start
        if self.objects is None:
            first = 0
        drawn = [
            each._replace(mask=enlarge_picture(_shrink(each.mask, small))) for each in segments
        ]
        return draw_segments(picture, drawn, self.classes[first:], self.palette[first:], alpha)

    def _list_segments(self) -> List[DrawnSegment]:
        if self.objects is not None:
            kept = [each for each in self.objects if each.score >= MIN_SCORE]
            kept.sort(key=lambda each: each.score)  # the best on top
            size = self.label_map.shape
            return [DrawnSegment(o.on_canvas(size), o.label, o.is_thing) for o in kept]
        counts = np.bincount(self.label_map.reshape(-1), minlength=len(self.classes))
        numbers = [number for number in self._facts.label_ids.counted if counts[number]]
        return [DrawnSegment(self.label_map == number, number, False) for number in numbers]

    def annotations(self) -> List[Dict[str, Any]]:
        """The objects, or the connected regions of the label map, as COCO's files have them.

        ``category_id`` is counted from 1 on; ids of pictures and annotations are left out.
        """
        size = self.label_map.shape
        objects = list_regions(self.label_map, self._facts.label_ids)
        if self.objects is not None:
            objects = self.objects
        return [_annotate(each, size, self.objects is not None) for each in objects]

    def _repr_png_(self) -> bytes:
        """The overlay as PNG, which notebooks show."""
        content = io.BytesIO()
        Image.fromarray(self.overlay(longest=1024)).save(content, 'PNG')
        return content.getvalue()


def _shrink(mask: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    if mask.shape == size:
        return mask
    small = cv2.resize(mask.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(small.astype(bool))


def _annotate(found: FoundObject, size: Tuple[int, int], has_score: bool) -> Dict[str, Any]:
    (top, left), (height, width) = found.place, found.mask.shape
    annotation = dict(
        category_id=found.label + 1,
        bbox=[left, top, width, height],
        area=int(found.mask.sum()),
        iscrowd=0,
        segmentation=pack_mask(found.mask, found.place, size),
    )
    if has_score:
        annotation.update(score=round(found.score, 4), isthing=int(found.is_thing))
    return annotation


def read_objects(annotations: Sequence[Dict[str, Any]]) -> List[FoundObject]:
    """The objects of :meth:`Prediction.annotations` that have scores."""
    found = []
    for each in annotations:
        left, top, width, height = each['bbox']
        mask = draw_mask(each['segmentation'], tuple(each['segmentation']['size']))
        part = mask[top : top + height, left : left + width]
        label, is_thing = each['category_id'] - 1, bool(each['isthing'])
        found.append(FoundObject(label, is_thing, each['score'], (top, left), part))
    return found


def list_regions(label_map: np.ndarray, label_ids: LabelIds) -> List[FoundObject]:
    """The connected regions of each class of a label map; pixels that share a corner touch."""
    found = []
    for index, number in enumerate(label_ids.classes):
        mask = label_map == number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            continue
        first, second = int(rows[0]), int(columns[0])
        part = mask[first : rows[-1] + 1, second : columns[-1] + 1].astype(np.uint8)
        count, numbers, boxes, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
        for region in range(1, count):
            left, top, width, height = boxes[region, :4].tolist()
            inside = numbers[top : top + height, left : left + width] == region
            place = first + top, second + left
            found.append(FoundObject(index, False, 1.0, place, inside))
    return found


def find_objects(sample: SegDataSample, things: Sequence[int]) -> List[FoundObject]:
    """The segments of a predicted panoptic map, or the predicted objects; by descending score."""
    found: List[FoundObject] = []
    if 'pred_panoptic_seg' in sample:
        panoptic = sample.pred_panoptic_seg
        ids = panoptic.data.cpu().numpy().reshape(panoptic.data.shape[-2:])
        for segment in panoptic.segments_info:
            info = segment['category_id'], segment['isthing'], segment['score']
            found += _crop(ids == segment['id'], *info)
    else:
        objects = sample.pred_instances
        labels, scores = objects.labels.tolist(), objects.scores.tolist()
        for mask, label, score in zip(objects.masks, labels, scores):
            found += _crop(mask.cpu().numpy(), label, label in things, score)
    return sorted(found, key=lambda each: -each.score)


def _crop(mask: np.ndarray, label: int, is_thing: bool, score: float) -> List[FoundObject]:
    """An object in its box; none, if it has no pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return [FoundObject(label, is_thing, float(score), (int(rows[0]), int(columns[0])), part)]


def find_void_id(label_ids: LabelIds) -> int:
    """The number of pixels of a label map where nothing was predicted.

    With one class it is that of the rest, where a file has no room for the one that is ignored.
    """
    limit = np.iinfo(label_ids.dtype).max
    rest_id, ignored = label_ids.rest_id, label_ids.ignore_index
    return ignored if rest_id is None or ignored <= limit else rest_id


def paint_objects(
    objects: Sequence[FoundObject], size: Tuple[int, int], label_ids: LabelIds
) -> np.ndarray:
    """A label map of objects, (H, W), the best on top, and :func:`find_void_id` elsewhere."""
    label_map = np.full(size, find_void_id(label_ids), label_ids.dtype)
    for each in sorted(objects, key=lambda each: each.score):
        if each.score >= MIN_SCORE:
            top, left = each.place
            height, width = each.mask.shape
            part = label_map[top : top + height, left : left + width]
            part[each.mask] = label_ids.classes.start + each.label
    return label_map
