"""Draws of few-shot training sets: made from labels, written to files, read and compared."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ..dataset_wrappers import each_dataset
from ..files import write_json
from ..folders import tell_apart
from ..label_ids import IGNORED_8_BITS, LabelIds, resolve_label_ids
from ..plain import DICT, Kind, find_difference, find_problem
from .checks import DatasetError, check_sample, read_with
from .few_shot_draws import check_different, check_positive, draw_few_shot
from .few_shot_objects import FoundObject, draw_objects, each_object, find_loader
from .steps import loaded_kind

__all__ = [
    'UNITS',
    'check_unit',
    'count_presence',
    'find_images',
    'list_parts',
    'make_manifest',
    'read_manifest',
    'write_manifest',
]

MANIFEST_VERSION = 1
#: What is drawn: images that show a class, or single objects of it.
UNITS = ('images', 'objects')
_IMAGES = Kind(
    "a list of drawn images, each a dict with the text 'image'",
    lambda value: (
        isinstance(value, list)
        and len(value) > 0
        and all(DICT.fits(each) and isinstance(each.get('image'), str) for each in value)
    ),
)
_OBJECTS = Kind(
    'a list of ids of objects',
    lambda value: (
        isinstance(value, list) and len(value) > 0 and all(type(each) is int for each in value)
    ),
)
#: Label maps between two lines of the log while they are counted.
PROGRESS_INTERVAL = 1000


def list_parts(dataset: Any) -> List[BaseDataset]:
    """The data sets that list files, inside of what wraps them; all of the same classes."""
    parts = list(each_dataset(dataset))
    for part in parts:
        if not isinstance(part, BaseDataset):
            raise DatasetError(
                'FewShotDataset draws from data sets that list files (a BaseSegDataset), found '
                f'{type(part).__name__}: wrap what is inside of it'
            )
        part.full_init()
    classes = [list(part.metainfo['classes']) for part in parts]
    for index, names in enumerate(classes):
        if names != classes[0]:
            raise DatasetError(
                f'FewShotDataset draws for one list of classes, but part {index} has {names}, '
                f'part 0 has {classes[0]}. Give the parts the same metainfo, or draw from each of '
                'them'
            )
    return parts


def _name_images(parts: Sequence[BaseDataset]) -> List[str]:
    """The paths of all images below the image folder or the root, the same on every machine.

    Images of several parts begin with what tells the parts' image folders apart, such as
    ``'day/0001.png'`` and ``'night/0001.png'``, so that the same name in two parts is no collision.
    """
    folders = [str(part.data_prefix.get('img_path') or part.data_root or '') for part in parts]
    labels = [f'{label}/' for label in tell_apart(folders)] if len(parts) > 1 else ['']
    names = []
    for label, part in zip(labels, parts):
        roots = [part.data_prefix.get('img_path'), part.data_root]
        roots = [root.replace(os.sep, '/').rstrip('/') + '/' for root in roots if root]
        for index in range(len(part)):
            path = part.get_data_info(index)['img_path'].replace(os.sep, '/')
            root = next((root for root in roots if path.startswith(root)), '')
            names.append(label + path[len(root) :])
    return names


def count_presence(dataset: Any, min_pixels: int = 1) -> np.ndarray:
    """Which image contains which class, (images, C) bool, read from all label maps.

    Label maps go through the ``LoadAnnotations`` of the data set's own pipeline, so that
    ``label_map`` and ``reduce_zero_label`` hold; segments, of which crowds do not count, through
    its ``LoadSegments``. Progress is logged.

    Args:
        dataset: A data set of mmseg, or a wrapper around some; each image counts once.
        min_pixels: Pixels from which on a class counts as contained. Defaults to 1.
    """
    return np.concatenate([_count_part(part, min_pixels) for part in list_parts(dataset)])


def _count_part(dataset: BaseDataset, min_pixels: int) -> np.ndarray:
    loader = find_loader(dataset, 'label map', 'segment map')
    if loader is None:
        found = [type(transform).__name__ for transform in dataset.pipeline.transforms]
        raise DatasetError(
            f'cannot count the classes of the data set {type(dataset).__name__}: expected '
            f"LoadAnnotations in its pipeline, found {found}. Add dict(type='LoadAnnotations')"
        )
    if loaded_kind(loader) == 'segment map':
        presence = np.zeros((len(dataset), len(dataset.metainfo['classes'])), bool)
        for each in _read_objects(dataset, min_pixels):
            presence[each.image, each.class_id] = True
        return presence
    label_ids = _find_label_ids(dataset)
    presence = np.zeros((len(dataset), label_ids.num_classes), bool)
    for index in range(len(dataset)):
        sample = read_with(loader, dataset.get_data_info(index))
        check_sample(sample, label_ids)
        pixels = np.bincount(sample['gt_seg_map'].ravel(), minlength=label_ids.classes.stop)
        presence[index] = pixels[label_ids.classes] >= min_pixels
        _report(index, len(dataset), 'classes in', 'label maps')
    return presence


def _report(index: int, count: int, what: str, where: str) -> None:
    if (index + 1) % PROGRESS_INTERVAL == 0:
        print_log(f'Counted {what} {index + 1} of {count} {where}', 'current')


def _read_objects(dataset: BaseDataset, min_pixels: int) -> List[FoundObject]:
    """The objects of all images of a data set; progress is logged."""
    loader = find_loader(dataset, 'segment map')
    if loader is None:
        found = [type(transform).__name__ for transform in dataset.pipeline.transforms]
        raise DatasetError(
            f"cannot draw objects of the data set {type(dataset).__name__} (unit='objects'): "
            f'expected LoadSegments in its pipeline, found {found}. Take a data set with objects, '
            "or unit='images'"
        )
    objects: List[FoundObject] = []
    for index in range(len(dataset)):
        objects += each_object(dataset, loader, index, min_pixels)
        _report(index, len(dataset), 'objects in', 'images')
    return objects


def _find_label_ids(dataset: BaseDataset) -> LabelIds:
    """The numbers in a data set's label maps; of one class the metainfo says that of the rest."""
    count = len(dataset.metainfo['classes'])
    rest_id = dataset.metainfo.get('rest_id')
    if count == 1 and rest_id is None:
        raise DatasetError(
            f'cannot count the one class of the data set {type(dataset).__name__}: expected '
            "metainfo=dict(classes=..., rest_id=...), with the model's decode_head.rest_id, found "
            'no rest_id. It is 0 where label maps hold 1 for the class, and 255 where they hold 0'
        )
    given = getattr(dataset, 'ignore_index', IGNORED_8_BITS)
    ignored = None if given == IGNORED_8_BITS else given  # mmseg's default says nothing
    return resolve_label_ids(count, ignored, rest_id)


def make_manifest(
    dataset: Any, shots: int, seed: int, min_pixels: int = 1, unit: str = 'images'
) -> Dict[str, Any]:
    """Draw from a data set, and write down what was drawn.

    The arguments are those of ``FewShotDataset``.

    Returns:
        Plain values: ``version``, ``dataset`` (the types of its parts), ``classes``, ``shots``,
        ``seed``, ``min_pixels``, ``unit``; ``images``, each with its path below the image folder
        (``image``; of several parts after what tells their folders apart) and the class that it is
        ``credited_to``; ``counts``, the images credited to each class; and ``incomplete``, for each
        class with fewer than ``shots`` of them, how many images of the whole data set contain it
        (all of which are drawn). With the unit 'objects' images have the ids of the drawn
        ``objects`` in place of a class, and ``counts`` and ``incomplete`` are numbers of objects.

    Raises:
        DatasetError: If label maps cannot be read, two images have the same name, or no image has
            any class.
        ValueError: If ``shots`` or ``min_pixels`` is not positive, or ``unit`` is another one.
    """
    check_positive(shots=shots, min_pixels=min_pixels)
    check_unit(unit)
    parts = list_parts(dataset)
    names, classes = _name_images(parts), list(parts[0].metainfo['classes'])
    try:
        if unit == 'objects':
            rows, counts, contained = _draw_objects(parts, shots, seed, min_pixels, names)
        else:
            presence = count_presence(dataset, min_pixels)
            credited = draw_few_shot(presence, shots, seed, names)
            rows = [dict(image=names[i], credited_to=classes[c]) for i, c in credited.items()]
            counts = Counter(credited.values())
            contained = Counter(np.nonzero(presence)[1].tolist())
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f'cannot draw from {_describe(parts)}: {error}') from error
    if not rows:
        raise DatasetError(
            f'cannot draw from {_describe(parts)}: expected {unit} with at least {min_pixels} '
            f'pixels of a class, found none in {len(names)} label maps. Lower min_pixels, or look '
            'at what the label maps hold'
        )
    return dict(
        version=MANIFEST_VERSION,
        dataset=' + '.join(dict.fromkeys(type(part).__name__ for part in parts)),
        classes=classes,
        shots=shots,
        seed=seed,
        min_pixels=min_pixels,
        unit=unit,
        images=sorted(rows, key=lambda row: row['image']),
        counts={name: counts[c] for c, name in enumerate(classes)},
        incomplete={name: contained[c] for c, name in enumerate(classes) if counts[c] < shots},
    )


def _draw_objects(
    parts: Sequence[BaseDataset], shots: int, seed: int, min_pixels: int, names: Sequence[str]
) -> Tuple[List[Dict[str, Any]], Dict[int, int], Dict[int, int]]:
    """The rows of drawn images, and how many objects of each class are drawn and are there."""
    objects: List[FoundObject] = []
    first = 0
    for part in parts:
        found = _read_objects(part, min_pixels)
        objects += [each._replace(image=each.image + first) for each in found]
        first += len(part)
    check_different(names)
    drawn = draw_objects(objects, shots, seed, names)
    rows = [dict(image=names[image], objects=ids) for image, ids in drawn.items()]
    contained = Counter(each.class_id for each in objects)
    counts = Counter({class_id: min(shots, count) for class_id, count in contained.items()})
    return rows, counts, contained


def check_unit(unit: Any) -> None:
    """Refuse another unit than those of :data:`UNITS`, with a ValueError."""
    if unit not in UNITS:
        raise ValueError(f'unit: expected one of {list(UNITS)}, found {unit!r}')


def write_manifest(manifest: Dict[str, Any], file: Union[str, Path]) -> None:
    """Write a manifest as JSON, and folders; a half-written file never has its name."""
    write_json(manifest, Path(file))


def read_manifest(file: Union[str, Path]) -> Dict[str, Any]:
    """Read a manifest; any other file is refused with a DatasetError."""
    try:
        manifest: Dict[str, Any] = json.loads(Path(file).read_text(encoding='utf-8'))
    except ValueError as error:  # also of texts that are not UTF-8
        raise _manifest_error(file, f'expected a JSON file, found {error}') from error
    problem = find_problem(manifest, dict(images=_IMAGES), needed=['images'])
    if problem is not None:
        raise _manifest_error(file, problem)
    return manifest


def find_images(
    manifest: Dict[str, Any], file: Any, dataset: Any, **expected: Any
) -> List[Dict[int, Any]]:
    """The drawn images of each part of a data set, in the manifest's order.

    Their numbers are keys; values are the ids of drawn objects, or None where all are taken.

    A DatasetError names the first entry of the manifest ``file`` that is not as expected
    (``classes``, ``shots``, ``seed``, ``min_pixels``, ``unit``), or the image that is not in the
    data set.
    """
    expected['version'] = MANIFEST_VERSION
    difference = find_difference(expected, {key: manifest.get(key) for key in expected})
    if difference is not None:
        entry, wanted, found = difference
        raise _manifest_error(file, f'{entry}: expected {wanted!r}, found {found!r}')
    parts = list_parts(dataset)
    places = [(number, index) for number, part in enumerate(parts) for index in range(len(part))]
    known = dict(zip(_name_images(parts), places))
    images: List[Dict[int, Any]] = [{} for _ in parts]
    for row, entry in enumerate(manifest['images']):
        name = entry['image']
        place = known.pop(name, None)
        if place is None:
            where = f'one of the {len(places)} images of {_describe(parts)}, each once'
            raise _manifest_error(file, f'images[{row}].image: expected {where}, found {name!r}')
        problem = find_problem(entry, dict(objects=_OBJECTS), needed=['objects'])
        if expected.get('unit') == 'objects' and problem is not None:
            raise _manifest_error(file, f'images[{row}].{problem}')
        images[place[0]][place[1]] = entry.get('objects')
    return images


def _describe(parts: Sequence[BaseDataset]) -> str:
    folders = [part.data_prefix.get('img_path') or part.data_root for part in parts]
    return ' + '.join(
        type(part).__name__ + (f' in {str(folder)!r}' if folder else '')
        for part, folder in zip(parts, folders)
    )


def _manifest_error(file: Any, problem: str) -> DatasetError:
    return DatasetError(
        f'few-shot manifest {str(file)!r}, {problem}. Name another file in the manifest setting of '
        'FewShotDataset, or delete this one to draw again'
    )
