"""From the pictures and lists in which data sets keep objects to a map of segments."""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from ..segments import IGNORED, NO_CLASS, renumber_segments
from .checks import DatasetError
from .coco_masks import draw_mask

__all__ = [
    'PICTURES',
    'VOID',
    'SegmentMap',
    'draw_instances',
    'keep_segments',
    'read_picture',
]

#: The class of labels whose pixels do not count.
VOID = -2


class SegmentMap(NamedTuple):
    """The segments of a picture.

    Attributes:
        numbers: (H, W) int32, indices into ``infos``, or ``IGNORED``.
        infos: Entries as ``TrueSegment``.
        pixels: How many each has in the map, 0 where others hide it.
    """

    numbers: np.ndarray
    infos: List[Dict[str, int]]
    pixels: List[int]


class _Runs(NamedTuple):
    """A map of numbers by runs of pixels, of which there are far fewer."""

    values: np.ndarray  # (n,) the different numbers, sorted
    pixels: np.ndarray  # (n,) how many pixels each has
    places: np.ndarray  # (runs,) which value a run has
    lengths: np.ndarray  # (runs,)
    shape: Tuple[int, ...]

    def fill(self, by_value: np.ndarray) -> np.ndarray:
        """A map of the numbers that stand for the values."""
        return np.repeat(by_value[self.places], self.lengths).reshape(self.shape)


def _find_runs(ids: np.ndarray) -> _Runs:
    flat = ids.reshape(-1)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.append(starts, flat.size))
    values, places = np.unique(flat[starts], return_inverse=True)
    places = places.reshape(-1)
    pixels = np.bincount(places, weights=lengths, minlength=len(values)).astype(np.int64)
    return _Runs(values, pixels, places, lengths, ids.shape)


class _Builder:
    """Gathers segments; what belongs to no object is one entry, and void has no entry."""

    def __init__(self) -> None:
        self.infos: List[Dict[str, int]] = []
        self.pixels: List[int] = []
        self._shared: Dict[int, int] = {}

    def add(
        self, segment_id: int, category_id: int, pixels: int, merge: bool = False, **known: int
    ) -> int:
        """The index of a segment; ``merge`` makes one of all that have its class."""
        if category_id == VOID:
            return IGNORED
        index = self._shared.get(category_id) if merge or category_id == NO_CLASS else None
        if index is None:
            index = len(self.infos)
            self.infos.append(dict(id=segment_id, category_id=category_id, iscrowd=0, area=0))
            self.pixels.append(0)
            if merge or category_id == NO_CLASS:
                self._shared[category_id] = index
        self.pixels[index] += pixels
        info = self.infos[index]
        info['area'] += known.get('area', pixels)
        info['iscrowd'] = known.get('iscrowd', 0) if category_id != NO_CLASS else 0
        return index

    def finish(self, numbers: np.ndarray) -> SegmentMap:
        return SegmentMap(numbers.astype(np.int32), self.infos, self.pixels)


def read_picture(picture: np.ndarray, segments: Mapping[str, Any]) -> SegmentMap:
    """The segments that a picture shows.

    Args:
        picture: As it lies in the file, (H, W) or (H, W, channels), channels in the order of RGBA.
        segments: Of the data set's record: ``kind``, one of :data:`PICTURES`, ``path``, and

            - ``segments_info`` (``'coco_panoptic'``), with classes of ours;
            - ``categories`` (others): classes by the labels in files, with ``VOID`` and
              ``NO_CLASS``; ``things``, which of the classes are things; and ``unlabelled``, the
              class of pixels without a label.

    Raises:
        DatasetError: If picture and list do not fit, with the file and the id.
    """
    read: Callable[[np.ndarray, Mapping[str, Any]], SegmentMap] = PICTURES[segments['kind']]
    return read(picture, segments)


def _read_coco_panoptic(picture: np.ndarray, segments: Mapping[str, Any]) -> SegmentMap:
    """COCO's panoptic format: id = R + 256 G + 65536 B; 0 is void."""
    channels = _channels(picture, segments, 3, 'R + 256 G + 65536 B are ids of segments')
    ids = channels[0] + (channels[1] << 8) + (channels[2] << 16)
    runs = _find_runs(ids)
    found = dict(zip(runs.values.tolist(), runs.pixels.tolist()))
    infos, where = segments['segments_info'], _where(segments)
    unknown = sorted(set(found) - {0} - {info['id'] for info in infos})
    if unknown:
        raise DatasetError(
            f'{where}: expected the ids that {segments["source"]!r} has for it, found also '
            f'{unknown[:10]} (the first in {found[unknown[0]]} pixels), of which that says nothing'
        )
    hidden = [info['id'] for info in infos if info['id'] not in found]
    if hidden and not segments.get('may_be_hidden'):
        raise DatasetError(
            f'{where}: expected pixels of each segment that {segments["source"]!r} has for it, '
            f'found none of the ids {hidden[:10]}. Leave these out there, or draw them'
        )
    builder, by_id = _Builder(), {0: IGNORED}
    for info in infos:
        known = {key: info[key] for key in ('area', 'iscrowd') if key in info}
        pixels = found.get(info['id'], 0)
        by_id[info['id']] = builder.add(info['id'], info['category_id'], pixels, **known)
    return builder.finish(runs.fill(np.array([by_id[i] for i in runs.values.tolist()])))


def _read_instance_ids(picture: np.ndarray, segments: Mapping[str, Any]) -> SegmentMap:
    """Cityscapes: label * 1000 + n is the n-th object, the label alone a region or a group."""
    if picture.ndim != 2:
        raise _wrong_channels(picture, segments, 1, 'label * 1000 + number of the object')
    runs, builder = _find_runs(picture), _Builder()
    numbers = []
    for value, pixels in zip(runs.values.tolist(), runs.pixels.tolist()):
        label = value if value < 1000 else value // 1000
        category = _look_up(label, value, pixels, segments)
        crowd = int(value < 1000 and category in segments['things'])
        numbers.append(builder.add(value, category, pixels, iscrowd=crowd))
    return builder.finish(runs.fill(np.array(numbers)))


def _read_ade_instances(picture: np.ndarray, segments: Mapping[str, Any]) -> SegmentMap:
    """ADE20K's challenge: R is the class, G the number of the object; B is not used."""
    red, green = _channels(picture, segments, 3, 'R is the class, G the number of the object')[:2]
    return _read_objects(green, red, np.zeros_like(red), segments)


def _read_bitmask(picture: np.ndarray, segments: Mapping[str, Any]) -> SegmentMap:
    """BDD100K: R is the class, 256 B + A the object, and two bits of G its crowd and ignore."""
    red, green, blue, alpha = _channels(
        picture, segments, 4, 'R is the class, G has attributes, 256 B + A is the object'
    )
    return _read_objects((blue << 8) + alpha, red, green & 3, segments)


def _read_objects(
    objects: np.ndarray, labels: np.ndarray, flags: np.ndarray, segments: Mapping[str, Any]
) -> SegmentMap:
    """Objects with a label each, (H, W) int32; 0 is no object.

    ``flags`` are 1 where pixels are ignored, 2 in crowds. An object of stuff joins the others of
    its class.
    """
    runs, builder = _find_runs((objects.astype(np.int64) << 16) + (labels << 8) + flags), _Builder()
    numbers, seen = [], {}  # type: ignore[var-annotated]
    for value, pixels in zip(runs.values.tolist(), runs.pixels.tolist()):
        number, label, flag = value >> 16, (value >> 8) & 255, value & 255
        if number and seen.setdefault(number, (label, flag)) != (label, flag):
            raise DatasetError(
                f'{_where(segments)}: expected one class of each object, found the object {number} '
                f'with the labels {seen[number][0]} and {label} (attributes {seen[number][1]} and '
                f'{flag}): the ids of two objects overlap'
            )
        if number == label == 0:
            category = int(segments['unlabelled'])
        elif number == 0 or label == 0 or flag & 1:
            category = VOID  # a class without an object, an object without a class, or ignored
        else:
            category = _look_up(label, number, pixels, segments)
        merge = category >= 0 and category not in segments['things']
        crowd = int(flag >> 1 & 1 and category in segments['things'])
        numbers.append(builder.add(number, category, pixels, merge, iscrowd=crowd))
    return builder.finish(runs.fill(np.array(numbers)))


def draw_instances(segments: Mapping[str, Any]) -> SegmentMap:
    """Objects as COCO lists them, in one map: the smaller lies on top.

    What shows no object is an entry of ``NO_CLASS``; objects of a class that is ``VOID`` are void.

    Args:
        segments: Of the data set's record: ``size`` (H, W), and ``instances`` with ``id``,
            ``category_id`` (ours), ``iscrowd``, ``area`` and ``segmentation``.
    """
    size: Tuple[int, int] = segments['size']
    builder = _Builder()
    numbers = np.full(size, builder.add(0, NO_CLASS, 0), np.int32)
    masks = [draw_mask(each['segmentation'], size) for each in segments['instances']]
    areas = [int(mask.sum()) for mask in masks]
    for place in sorted(range(len(masks)), key=lambda i: -areas[i]):
        each = segments['instances'][place]
        known = dict(area=int(each.get('area', areas[place])), iscrowd=each['iscrowd'])
        numbers[masks[place]] = builder.add(each['id'], each['category_id'], 0, **known)
    counts = np.bincount(numbers[numbers >= 0], minlength=len(builder.infos)).tolist()
    builder.pixels[:] = counts
    builder.infos[0]['area'] = counts[0]
    return builder.finish(numbers)


def keep_segments(found: SegmentMap, segments: Mapping[str, Any]) -> SegmentMap:
    """The same with some objects only (``kept``, their ids); others become void.

    What is no object remains.
    """
    kept = set(segments['kept'])
    missing = sorted(kept - {info['id'] for info in found.infos if info['category_id'] >= 0})
    if missing:
        raise DatasetError(
            f'{_where(segments)}: expected the objects {sorted(kept)[:10]}, which a few-shot '
            f'manifest names, found none with the ids {missing[:10]}. Draw again'
        )
    places = [i for i, f in enumerate(found.infos) if f['category_id'] < 0 or f['id'] in kept]
    infos, pixels = [found.infos[i] for i in places], [found.pixels[i] for i in places]
    numbers = renumber_segments(found.numbers, places, len(found.infos))
    return SegmentMap(numbers, infos, pixels)


def _look_up(label: int, segment_id: int, pixels: int, segments: Mapping[str, Any]) -> int:
    """The class of a label in a file."""
    category: Optional[int] = segments['categories'].get(label)
    if category is None:
        known = sorted(segments['categories'])
        raise DatasetError(
            f'{_where(segments)}: expected labels from {known[0]} to {known[-1]}, found {label} '
            f'(id {segment_id}, {pixels} pixels)'
        )
    return category


def _where(segments: Mapping[str, Any]) -> str:
    return f'segments {str(segments["path"])!r}'


def _channels(
    picture: np.ndarray, segments: Mapping[str, Any], count: int, meaning: str
) -> List[np.ndarray]:
    """The channels of a picture as int32."""
    has = picture.shape[2] if picture.ndim == 3 else 1
    if has < count or picture.dtype != np.uint8:
        raise _wrong_channels(picture, segments, count, meaning)
    return [picture[..., channel].astype(np.int32) for channel in range(has)]


def _wrong_channels(
    picture: np.ndarray, segments: Mapping[str, Any], count: int, meaning: str
) -> DatasetError:
    return DatasetError(
        f'{_where(segments)}: expected {count} channel{"s" * (count > 1)}, in which {meaning}, '
        f'found {picture.dtype} of the shape {picture.shape}. Look at seg_map_path of data_prefix '
        'and at seg_map_suffix'
    )


#: What reads a picture, by the kind of a record's segments.
PICTURES: Dict[str, Callable[[np.ndarray, Mapping[str, Any]], SegmentMap]] = dict(
    coco_panoptic=_read_coco_panoptic,
    instance_ids=_read_instance_ids,
    ade_instances=_read_ade_instances,
    bitmask=_read_bitmask,
)
