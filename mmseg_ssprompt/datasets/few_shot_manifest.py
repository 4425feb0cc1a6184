"""Draws of few-shot training sets as files: made from label maps, written, read and compared."""

import json
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import Any, Dict, List, Sequence, Union

import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ..files import write_atomically
from ..label_ids import IGNORED_8_BITS, LabelIds, resolve_label_ids
from .checks import (
    DatasetError,
    LabelFacts,
    check_label_ids,
    check_label_shape,
    check_label_size,
    read_with,
)
from .few_shot_draw import check_positive, draw_few_shot
from .few_shot_parts import list_parts, name_images

__all__ = [
    'check_manifest',
    'count_presence',
    'find_images',
    'make_manifest',
    'read_manifest',
    'write_manifest',
]

MANIFEST_VERSION = 1
#: Label maps between two lines of the log while they are counted.
PROGRESS_INTERVAL = 1000


def count_presence(dataset: Any, min_pixels: int = 1) -> np.ndarray:
    """Which image contains which class, read from all label maps.

    Label maps go through the ``LoadAnnotations`` of the data set's own pipeline, so that
    ``label_map`` and ``reduce_zero_label`` hold. Progress is logged.

    Args:
        dataset: A data set of mmseg, or a wrapper around some, of which each image counts once.
        min_pixels: Pixels from which on a class counts as contained. Defaults to 1.

    Returns:
        (images, C) bool.

    Raises:
        DatasetError: If a label map cannot be read or has ids of no class, or the pipeline does
            not load any.
    """
    return np.concatenate([_count_part(part, min_pixels) for part in list_parts(dataset)])


def _count_part(dataset: BaseDataset, min_pixels: int) -> np.ndarray:
    loader, label_ids = _annotation_loader(dataset), _find_label_ids(dataset)
    presence = np.zeros((len(dataset), label_ids.num_classes), bool)
    for index in range(len(dataset)):
        sample = read_with(loader, dataset.get_data_info(index))
        check_label_shape(sample)
        check_label_size(sample)
        file, facts = sample['seg_map_path'], LabelFacts.of(sample)
        check_label_ids(sample['gt_seg_map'], label_ids, file, facts)
        pixels = np.bincount(sample['gt_seg_map'].ravel(), minlength=label_ids.classes.stop)
        presence[index] = pixels[label_ids.classes] >= min_pixels
        if (index + 1) % PROGRESS_INTERVAL == 0:
            print_log(f'Counted classes in {index + 1} of {len(dataset)} label maps', 'current')
    return presence


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


def _annotation_loader(dataset: BaseDataset) -> LoadAnnotations:
    for transform in dataset.pipeline.transforms:
        if isinstance(transform, LoadAnnotations):
            return transform
    found = [type(transform).__name__ for transform in dataset.pipeline.transforms]
    raise DatasetError(
        f'cannot count the classes of the data set {type(dataset).__name__}: expected '
        f"LoadAnnotations in its pipeline, found {found}. Add dict(type='LoadAnnotations')"
    )


def make_manifest(dataset: Any, shots: int, seed: int, min_pixels: int = 1) -> Dict[str, Any]:
    """Draw from a data set, and write down what was drawn.

    Args:
        dataset: A data set of mmseg, or a wrapper around some.
        shots: Images to be credited to each class.
        seed: Which draw.
        min_pixels: Pixels from which on an image contains a class. Defaults to 1.

    Returns:
        Plain values: ``version``, ``dataset`` (the types of its parts), ``classes``, ``shots``,
        ``seed``, ``min_pixels``; ``images``, each with its path below the image folder (``image``;
        of several parts as :func:`name_images` says) and the class that it is ``credited_to``;
        ``counts``, the images credited to each class; and ``incomplete``, for each class with
        fewer than ``shots`` of them, how many images of the whole data set contain it (all of
        which are drawn).

    Raises:
        DatasetError: If label maps cannot be read, two images have the same name, or no image has
            any class.
        ValueError: If ``shots`` or ``min_pixels`` is not positive.
    """
    check_positive(shots=shots, min_pixels=min_pixels)
    parts = list_parts(dataset)
    names, presence = name_images(parts), count_presence(dataset, min_pixels)
    try:
        credited = draw_few_shot(presence, shots, seed, names)
    except ValueError as error:
        raise DatasetError(f'cannot draw from {_describe(parts)}: {error}') from error
    if not credited:
        raise DatasetError(
            f'cannot draw from {_describe(parts)}: expected images with at least {min_pixels} '
            f'pixels of a class, found none in {len(names)} label maps. Lower min_pixels, or look '
            'at what the label maps hold'
        )
    classes = list(parts[0].metainfo['classes'])
    counts, contained = Counter(credited.values()), presence.sum(axis=0).tolist()
    rows = [dict(image=names[i], credited_to=classes[c]) for i, c in credited.items()]
    return dict(
        version=MANIFEST_VERSION,
        dataset=' + '.join(dict.fromkeys(type(part).__name__ for part in parts)),
        classes=classes,
        shots=shots,
        seed=seed,
        min_pixels=min_pixels,
        images=sorted(rows, key=lambda row: row['image']),
        counts={name: counts[c] for c, name in enumerate(classes)},
        incomplete={name: contained[c] for c, name in enumerate(classes) if counts[c] < shots},
    )


def write_manifest(manifest: Dict[str, Any], file: Union[str, Path]) -> None:
    """Write a manifest as JSON; a half-written file never has its name.

    Args:
        manifest: What :func:`make_manifest` returns.
        file: Its path; folders are made.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (json.dumps(manifest, indent=2) + '\n').encode())


def read_manifest(file: Union[str, Path]) -> Dict[str, Any]:
    """Read a manifest that :func:`write_manifest` has written.

    Raises:
        DatasetError: If the file is not one, with what was expected and found.
    """
    file = Path(file)
    try:
        manifest = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:  # also of texts that are not UTF-8
        raise _manifest_error(file, 'content', 'a JSON file', f'{error}') from error
    if not isinstance(manifest, dict):
        raise _manifest_error(file, 'content', 'a JSON object', type(manifest).__name__)
    _compare(file, 'version', MANIFEST_VERSION, manifest.get('version'))
    rows = manifest.get('images')
    if not isinstance(rows, list) or not rows:
        raise _manifest_error(file, 'images', 'a list of drawn images', repr(rows))
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get('image'), str):
            raise _manifest_error(file, f'images[{index}]', "the text 'image'", repr(row))
    return manifest


def check_manifest(manifest: Dict[str, Any], file: Any, **expected: Any) -> None:
    """Compare entries of a manifest with what a configuration asks for.

    Args:
        manifest: What :func:`read_manifest` returns.
        file: Its path, for the error.
        **expected: ``classes``, ``shots``, ``seed`` and ``min_pixels``.

    Raises:
        DatasetError: With the first entry that differs.
    """
    for entry, value in expected.items():
        _compare(file, entry, value, manifest.get(entry))


def find_images(manifest: Dict[str, Any], file: Any, dataset: Any) -> List[int]:
    """Indices of the drawn images, counted through all parts, in the manifest's order.

    Raises:
        DatasetError: If an image is not in the data set, or is there twice.
    """
    parts = list_parts(dataset)
    known = {name: index for index, name in enumerate(name_images(parts))}
    found: Dict[str, int] = {}
    for row, entry in enumerate(manifest['images']):
        name = entry['image']
        if name not in known:
            where = f'one of the {len(known)} images of {_describe(parts)}'
            raise _manifest_error(file, f'images[{row}].image', where, repr(name))
        if name in found:
            raise _manifest_error(file, f'images[{row}].image', 'each image once', repr(name))
        found[name] = known[name]
    return list(found.values())


def _describe(parts: Sequence[BaseDataset]) -> str:
    folders = [part.data_prefix.get('img_path') or part.data_root for part in parts]
    return ' + '.join(
        type(part).__name__ + (f' in {str(folder)!r}' if folder else '')
        for part, folder in zip(parts, folders)
    )


def _compare(file: Any, entry: str, expected: Any, found: Any) -> None:
    """Refuse another value, or name the first entry in which two lists differ."""
    if isinstance(expected, list) and isinstance(found, list):
        for index, pair in enumerate(zip_longest(expected, found)):
            _compare(file, f'{entry}[{index}]', *pair)
    elif expected != found:
        texts = ['nothing' if x is None else repr(x) for x in (expected, found)]
        raise _manifest_error(file, entry, *texts)


def _manifest_error(file: Any, entry: str, expected: str, found: str) -> DatasetError:
    return DatasetError(
        f'few-shot manifest {str(file)!r}, {entry}: expected {expected}, found {found}. Name '
        'another file in the manifest setting of FewShotDataset, or delete this one to draw again'
    )
