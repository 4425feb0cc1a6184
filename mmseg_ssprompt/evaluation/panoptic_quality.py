"""Panoptic quality (PQ), equal to the official evaluation of COCO in every digit.

Kirillov et al., "Panoptic Segmentation" (CVPR 2019). The rules, and the order in which numbers are
added, are those of ``pq_compute_single_core`` and ``pq_average`` of cocodataset/panopticapi. All
functions are pure: they read no files and log nothing.
"""

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from ..segments import LAST_ID

__all__ = [
    'VOID',
    'ClassCounts',
    'ImageComparison',
    'PanopticError',
    'average_classes',
    'compare_panoptic',
    'measure_class',
    'sum_classes',
]

#: The id of pixels without a segment, in true and in predicted maps.
VOID = 0
#: No id reaches it.
_OFFSET = LAST_ID + 1

#: An entry of ``segments_info``: ``id``, ``category_id``; a true one has ``area`` and ``iscrowd``.
Segment = Mapping[str, Any]


class PanopticError(ValueError):
    """A panoptic map and the list of its segments contradict each other."""


class ImageComparison(NamedTuple):
    """What the evaluation takes of an image; a few numbers for each segment.

    Attributes:
        matches: Class and IoU of each matched pair, in the order of (true id, predicted id).
        false_positives: The class of each predicted segment that counts as one.
        false_negatives: The class of each true segment that counts as one.
    """

    matches: List[Tuple[int, float]]
    false_positives: List[int]
    false_negatives: List[int]


class ClassCounts(NamedTuple):
    """Sums over images for one class: IoU of matches, and how many segments were what."""

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    @property
    def is_seen(self) -> bool:
        """Whether any segment of the class counts; averages leave other classes out."""
        return self.tp + self.fp + self.fn > 0


def compare_panoptic(
    true_map: np.ndarray,
    true_segments: Sequence[Segment],
    found_map: np.ndarray,
    found_segments: Sequence[Segment],
    categories: Iterable[int],
    name: str = 'prediction',
) -> ImageComparison:
    """Match the predicted segments of an image with the true ones.

    A pair matches where it has one class and an IoU above 0.5. Pixels without a true segment
    (``VOID``) do not count in the union; a predicted segment that lies on them, and on a crowd of
    its class, by more than half of its pixels is no false positive. Crowds never match. True ids
    that ``true_segments`` lacks are skipped, and are not void.

    Args:
        true_map: (H, W) integer, the id of each pixel's segment from 1 to 256^3 - 1, or ``VOID``.
        true_segments: ``id``, ``category_id``, and where they are known ``area`` in pixels, which
            goes before what the map shows, and ``iscrowd``.
        found_map: (H, W) integer, as predicted.
        found_segments: ``id`` and ``category_id``; those of all ids in ``found_map``, and no other.
        categories: The classes that a prediction may have.
        name: What errors call the prediction.

    Raises:
        PanopticError: If the maps differ in size; if a predicted id is in the map or the list
            alone, or its class is not among ``categories``; if a true segment has the area 0, and
            pixels.
    """
    if true_map.shape != found_map.shape:
        raise PanopticError(
            f'{name}: expected a map of {true_map.shape} pixels (height, width) as the true one '
            f'is, found {found_map.shape}. Predictions are compared at the size of the annotations'
        )
    pairs = _count_pairs(true_map, found_map)
    true_areas, found_areas = _sum_areas(pairs, 0), _sum_areas(pairs, 1)
    truth = {segment['id']: segment for segment in true_segments}
    found = {segment['id']: segment for segment in found_segments}
    _check_found(found, found_areas, set(categories), name)

    matches, matched_truth, matched_found = [], set(), set()
    for (true_id, found_id), common in pairs.items():
        if true_id not in truth or found_id not in found or truth[true_id].get('iscrowd') == 1:
            continue
        category = truth[true_id]['category_id']
        if category != found[found_id]['category_id']:
            continue
        true_area = truth[true_id].get('area', true_areas[true_id])
        union = found_areas[found_id] + true_area - common - pairs.get((VOID, found_id), 0)
        if union == 0:
            raise PanopticError(
                f'{name}: true segment {true_id} has {true_areas[true_id]} pixels in the map, but '
                f'its area is {true_area}. Correct the area in segments_info'
            )
        iou = common / union
        if iou > 0.5:
            matches.append((category, iou))
            matched_truth.add(true_id)
            matched_found.add(found_id)

    missed = [segment for key, segment in truth.items() if key not in matched_truth]
    # Of several crowds of one class the last counts alone, as in the official code.
    crowds = {each['category_id']: each['id'] for each in missed if each.get('iscrowd') == 1}
    false_positives = []
    for found_id, segment in found.items():
        category = segment['category_id']
        if found_id in matched_found:
            continue
        ignored = pairs.get((VOID, found_id), 0)
        if category in crowds:
            ignored += pairs.get((crowds[category], found_id), 0)
        if not ignored / found_areas[found_id] > 0.5:
            false_positives.append(category)
    false_negatives = [each['category_id'] for each in missed if each.get('iscrowd') != 1]
    return ImageComparison(matches, false_positives, false_negatives)


def _count_pairs(true_map: np.ndarray, found_map: np.ndarray) -> Dict[Tuple[int, int], int]:
    """How many pixels each pair of ids (true, predicted) shares, in the order of the pairs."""
    both = true_map.astype(np.uint64) * np.uint64(_OFFSET) + found_map.astype(np.uint64)
    keys, counts = np.unique(both, return_counts=True)
    return {divmod(key, _OFFSET): count for key, count in zip(keys.tolist(), counts.tolist())}


def _sum_areas(pairs: Mapping[Tuple[int, int], int], which: int) -> Dict[int, int]:
    """Pixels of each id: of the true ones (0) or the predicted ones (1)."""
    areas: Dict[int, int] = {}
    for pair, count in pairs.items():
        areas[pair[which]] = areas.get(pair[which], 0) + count
    return areas


def _check_found(
    found: Mapping[int, Segment], areas: Mapping[int, int], categories: Any, name: str
) -> None:
    """Refuse a predicted map and list that differ in their ids, and unknown classes."""
    unlisted = [key for key in areas if key not in found and key != VOID]
    empty = [key for key in found if key not in areas]
    unknown = [key for key in found if found[key]['category_id'] not in categories]
    if unlisted:
        problem = f'ids {unlisted[:5]} are in the map, but not in segments_info'
    elif empty:
        problem = f'ids {empty[:5]} are in segments_info, but no pixel of the map has them'
    elif unknown:
        category = found[unknown[0]]['category_id']
        problem = f'segment {unknown[0]} has the category_id {category!r}, which no category has'
    else:
        return
    raise PanopticError(
        f'{name}: expected one entry of segments_info, of a known category, for each id in the '
        f'map, found that {problem}. Leave out segments without pixels, and list all others'
    )


def sum_classes(images: Iterable[ImageComparison]) -> Dict[int, ClassCounts]:
    """Add up images, for each class of which a segment counts.

    Sums are taken pair by pair in the order of the images: floating-point sums in another order may
    differ from the official ones in the last digit.
    """
    sums: Dict[int, ClassCounts] = {}

    def add(category: int, iou: float = 0.0, tp: int = 0, fp: int = 0, fn: int = 0) -> None:
        old = sums.get(category, ClassCounts())
        sums[category] = ClassCounts(old.iou + iou, old.tp + tp, old.fp + fp, old.fn + fn)

    for image in images:
        for category, iou in image.matches:
            add(category, iou, tp=1)
        for category in image.false_negatives:
            add(category, fn=1)
        for category in image.false_positives:
            add(category, fp=1)
    return sums


def measure_class(counts: ClassCounts) -> Dict[str, float]:
    """``pq``, ``sq`` and ``rq`` of a class as fractions; 0 where no segment counts."""
    if not counts.is_seen:
        return dict(pq=0.0, sq=0.0, rq=0.0)
    iou, tp, fp, fn = counts
    return dict(
        pq=iou / (tp + 0.5 * fp + 0.5 * fn),
        sq=iou / tp if tp else 0.0,
        rq=tp / (tp + 0.5 * fp + 0.5 * fn),
    )


def average_classes(sums: Mapping[int, ClassCounts], categories: Iterable[int]) -> Dict[str, float]:
    """The means of ``pq``, ``sq`` and ``rq`` over some classes, and ``n``, how many they are.

    Classes of which no segment counts are left out. Where none is left (``n`` is 0), the means are
    NaN; the official code divides by zero there.
    """
    seen = [sums[category] for category in categories if category in sums]
    total = dict(pq=0.0, sq=0.0, rq=0.0)
    for counts in seen:
        for key, value in measure_class(counts).items():
            total[key] += value
    n = len(seen)
    return {**{key: value / n if n else float('nan') for key, value in total.items()}, 'n': n}
