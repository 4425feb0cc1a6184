"""The pictures of the report: a photograph, its result before and after, and the truth."""

import base64
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import cv2
import mmcv
import numpy as np
from mmseg.registry import DATASETS

from ..datasets.label_maps import LoadLabelMap
from ..label_ids import LabelIds, with_rest
from ..segment_drawing import DrawnSegment, draw_segments, enlarge_picture
from .fit_data import FitData
from .segment_files import read_segments

__all__ = ['MOST_PICTURES', 'Panel', 'Scene', 'draw_scenes', 'each_label_maps']

#: So many pictures are shown, and so many are looked at to choose them.
MOST_PICTURES = 6
_MOST_READ = 60
#: The longer side of a picture in the report, in pixels.
_LONGEST = 560
#: Smaller spots are not outlined, as a share of the picture.
_SMALLEST_SPOT = 0.0008
#: Outlines of what became right and of what became wrong (RGB); blue and orange are told apart by
#: people who do not see red and green.
_GAINED, _LOST = (0, 114, 255), (255, 128, 0)
#: The number of pixels that belong to no class, in maps of this module.
_NONE = -1
_QUALITY = 86


class Panel(NamedTuple):
    """A picture as an HTML page holds it.

    Attributes:
        data: Its JPEG file in base64.
        width: In pixels.
        height: In pixels.
        description: What it shows, in words.
    """

    data: str
    width: int
    height: int
    description: str


class Scene(NamedTuple):
    """A photograph of the validation or test part, and what was found in it.

    Attributes:
        name: Of its file, in the folder of photographs.
        photograph: With outlines of what became right and what became wrong.
        before: The result of zero-shot prompts.
        after: The result of the best arm.
        truth: What is labelled.
        right_before: Share of the labelled pixels that had the right class, in percent; None where
            none is labelled.
        right_after: The same of the best arm.
        classes: Numbers of the classes that ``before``, ``after`` or ``truth`` show.
    """

    name: str
    photograph: Panel
    before: Panel
    after: Panel
    truth: Panel
    right_before: Optional[float]
    right_after: Optional[float]
    classes: List[int]


class _Found(NamedTuple):
    """What is known of a picture before it is drawn; segments have the size of the photograph."""

    name: str
    before: List[DrawnSegment]
    after: List[DrawnSegment]
    truth: List[DrawnSegment]
    counted: np.ndarray  # (H, W) bool

    def share_right(self, segments: Sequence[DrawnSegment]) -> Optional[float]:
        """Share of the pixels that count whose class is right, in percent."""
        if not self.counted.any():
            return None
        is_right = _class_map(segments, self.counted.shape) == self.true_map
        return 100 * float(is_right[self.counted].mean())

    @property
    def true_map(self) -> np.ndarray:
        return _class_map(self.truth, self.counted.shape)


def draw_scenes(data: FitData, results: Mapping[str, Any]) -> List[Scene]:
    """Draw a few of the pictures that were predicted, from the largest gain to the smallest.

    Args:
        data: What was fitted, in the folder that ``fit`` wrote.
        results: The content of its ``results.json``.

    Returns:
        Up to ``MOST_PICTURES`` scenes, at equal steps of the pictures in the order of their gains.

    Raises:
        OSError: If a photograph, its labels or its prediction cannot be read.
    """
    part = results['pictures_shown']
    if part == 'val' and results['cross_validated']:
        part = 'train'
    labels = _list_label_maps(data)
    gains: List[Tuple[float, str]] = []
    for name in _at_equal_steps(data.names(part), _MOST_READ):
        found = _read(data, labels, name)
        shares = found.share_right(found.before), found.share_right(found.after)
        gains.append(((shares[1] or 0.0) - (shares[0] or 0.0), name))
    gains.sort(key=lambda each: (-each[0], each[1]))
    return [
        _draw(data, _read(data, labels, name)) for _, name in _at_equal_steps(gains, MOST_PICTURES)
    ]


def _at_equal_steps(values: Sequence[Any], count: int) -> List[Any]:
    """At most ``count`` of the values, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[int(place)] for place in np.linspace(0, len(values) - 1, count).round()]


def _list_label_maps(data: FitData) -> Dict[str, Dict[str, Any]]:
    """What the data set says of the label map of each picture, by name; empty of objects."""
    if data.task != 'semantic':
        return {}
    dataset = DATASETS.build(dict(data.dataset(), pipeline=[], _scope_='mmseg'))
    records = [dataset.get_data_info(index) for index in range(len(dataset))]
    return {Path(each['img_path']).relative_to(data.images).as_posix(): each for each in records}


def each_label_maps(data: FitData, names: Sequence[str]) -> Iterator[Tuple[np.ndarray, ...]]:
    """What zero-shot prompts and the best arm predicted of pictures, and the truth.

    Args:
        data: What was fitted, with label maps, in the folder that ``fit`` wrote.
        names: Pictures that were predicted.

    Yields:
        Three label maps (H, W) of each picture.

    Raises:
        OSError: If one of them cannot be read.
    """
    labels = _list_label_maps(data)
    return (_read_label_maps(data, labels, name) for name in names)


def _read_label_maps(
    data: FitData, labels: Mapping[str, Dict[str, Any]], name: str
) -> Tuple[np.ndarray, ...]:
    before, after = (
        _read_labels(_beside(data.out / 'predictions' / each, name, '.png'))
        for each in ('zero-shot', 'best')
    )
    loader = LoadLabelMap(ignore_index=data.label_ids.ignore_index)
    return before, after, loader.transform(dict(labels[name]))['gt_seg_map']


def _read(data: FitData, labels: Mapping[str, Dict[str, Any]], name: str) -> _Found:
    if data.task == 'semantic':
        ids = data.label_ids
        maps = _read_label_maps(data, labels, name)
        before, after, truth = (_segments_of(each, ids) for each in maps)
        return _Found(name, before, after, truth, np.isin(maps[2], ids.counted))
    folders = [data.out / 'predictions' / each for each in ('zero-shot', 'best', 'truth')]
    before, after, truth = (read_segments(_beside(folder, name, '.json')) for folder in folders)
    height, width = _read_photograph(data, name).shape[:2]
    known = np.ones((height, width), bool)
    if data.task == 'panoptic':  # where no true segment is, nothing is known
        known = _class_map(truth, (height, width)) != _NONE
    return _Found(name, before, after, truth, known)


def _beside(folder: Path, name: str, suffix: str) -> Path:
    """The file of a picture in a folder of results."""
    return folder / PurePosixPath(name).with_suffix(suffix)


def _read_photograph(data: FitData, name: str) -> np.ndarray:
    """A photograph (H, W, 3) uint8, RGB, turned as its EXIF says, as models are shown it."""
    content = (Path(data.images) / name).read_bytes()
    return np.asarray(mmcv.imfrombytes(content, channel_order='rgb', backend='cv2'))


def _read_labels(file: Path) -> np.ndarray:
    return np.asarray(mmcv.imfrombytes(file.read_bytes(), flag='unchanged', backend='cv2'))


def _segments_of(labels: np.ndarray, label_ids: LabelIds) -> List[DrawnSegment]:
    """The classes of a label map as regions; pixels of other numbers belong to none."""
    present = np.unique(labels).tolist()
    return [
        DrawnSegment(labels == number, number, False)
        for number in sorted(label_ids.counted)
        if number in present
    ]


def _class_map(segments: Sequence[DrawnSegment], size: Tuple[int, ...]) -> np.ndarray:
    """The class of each pixel, (H, W) int32; later segments lie on top."""
    classes = np.full(size, _NONE, np.int32)
    for segment in segments:
        classes[segment.mask] = segment.label
    return classes


# ---- drawing


def _draw(data: FitData, found: _Found) -> Scene:
    photograph = _read_photograph(data, found.name)
    names, palette = _names_and_colours(data)
    image = _fit(photograph, cv2.INTER_AREA)
    size = image.shape[:2]
    parts = [found.before, found.after, found.truth]
    before, after, truth = (_fit_segments(each) for each in parts)
    maps = [_class_map(each, size) for each in (before, after, truth)]
    counted = _fit(found.counted.astype(np.uint8), cv2.INTER_NEAREST).astype(bool)
    shown_before, shown_after, shown_truth = (
        _to_panel(
            draw_segments(image, each, names, palette, alpha=0.68, with_labels=False),
            _describe(labels, names),
        )
        for each, labels in zip((before, after, truth), maps)
    )
    outlined = _outline(image, *((labels == maps[2]) & counted for labels in maps[:2]))
    present = sorted({int(number) for labels in maps for number in np.unique(labels)} - {_NONE})
    return Scene(
        found.name,
        _to_panel(outlined, f'Photograph {found.name}, with outlines where the results differ'),
        shown_before,
        shown_after,
        shown_truth,
        found.share_right(found.before),
        found.share_right(found.after),
        present,
    )


def _names_and_colours(data: FitData) -> Tuple[Sequence[str], Sequence[Sequence[int]]]:
    """Names and colours of the classes by their numbers in label maps."""
    meta: Dict[str, Any] = dict(classes=data.classes, palette=data.palette)
    if data.task == 'semantic':
        meta = with_rest(meta, data.label_ids)
    return meta['classes'], meta['palette']


def _fit(picture: np.ndarray, interpolation: int) -> np.ndarray:
    """A picture or a map in the size in which it is shown: a small one is enlarged."""
    height, width = picture.shape[:2]
    factor = _LONGEST / max(height, width)
    if factor >= 1:
        return enlarge_picture(picture)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation))


def _fit_segments(segments: Sequence[DrawnSegment]) -> List[DrawnSegment]:
    return [
        each._replace(mask=_fit(each.mask.astype(np.uint8), cv2.INTER_NEAREST).astype(bool))
        for each in segments
    ]


def _outline(image: np.ndarray, right_before: np.ndarray, right_after: np.ndarray) -> np.ndarray:
    """Outlines, on the photograph, of what became right and of what became wrong."""
    edge = 4  # an outline does not go along the border of the photograph
    drawn = cv2.copyMakeBorder(image, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    changes = ((right_after & ~right_before, _GAINED), (right_before & ~right_after, _LOST))
    kernel = np.ones((3, 3), np.uint8)
    for changed, colour in changes:
        spots = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, kernel)
        spots = cv2.copyMakeBorder(spots, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        contours, _ = cv2.findContours(spots, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        smallest = _SMALLEST_SPOT * changed.size
        large = [each for each in contours if cv2.contourArea(each) >= smallest]
        cv2.drawContours(drawn, large, -1, (255, 255, 255), 4, cv2.LINE_AA)
        cv2.drawContours(drawn, large, -1, colour, 2, cv2.LINE_AA)
    return drawn[edge:-edge, edge:-edge]


def _describe(labels: np.ndarray, names: Sequence[str]) -> str:
    """The largest classes of a picture and their shares, for those who do not see it."""
    numbers, counts = np.unique(labels[labels != _NONE], return_counts=True)
    order = np.argsort(-counts, kind='stable')[:4]
    shares = [
        f'{names[int(numbers[each])]} {100 * counts[each] / labels.size:.0f} %' for each in order
    ]
    return ', '.join(shares) if shares else 'nothing'


def _to_panel(picture: np.ndarray, description: str) -> Panel:
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    _, content = cv2.imencode('.jpg', picture[..., ::-1], options)
    height, width = picture.shape[:2]
    return Panel(base64.b64encode(content.tobytes()).decode('ascii'), width, height, description)
