"""Pictures that lie in the folders of a data set, and that it does not take."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

__all__ = ['count_pictures', 'find_left_out']

_PICTURE = re.compile(r'\.(png|jpe?g?|jp2|bmp|tiff?|webp|gif|p[bgp]m)$', re.IGNORECASE)


def count_pictures(folder: str) -> Dict[str, int]:
    """How many pictures of each suffix, as it is spelt, lie in a folder and in those below it."""
    return dict(Counter(Path(path).suffix for path in _each_picture(folder)))


def _each_picture(folder: str) -> Iterator[str]:
    """Paths of pictures below a folder of this machine, without hidden files."""
    for where, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if _PICTURE.search(name) and not name.startswith('.'):
                yield os.path.join(where, name)


def find_left_out(dataset: Any) -> List[str]:
    """Say which pictures in the folders of a data set it does not take.

    Only data sets that take all files of a folder with a suffix are looked at.

    Args:
        dataset: A data set of mmseg, without wrappers.

    Returns:
        A sentence on images, and one on label maps, where there are such.
    """
    prefix: Mapping[str, Any] = getattr(dataset, 'data_prefix', {})
    suffix: Any = getattr(dataset, 'img_suffix', None)
    if not isinstance(suffix, str) or getattr(dataset, 'ann_file', None):
        return []
    images, labels = (str(prefix.get(key) or '') for key in ('img_path', 'seg_map_path'))
    if not os.path.isdir(images):
        return []
    own_labels = str(getattr(dataset, 'seg_map_suffix', ''))
    taken, others = _split(images, suffix, own_labels if _is_same(images, labels) else None)
    lines = []
    if others:
        counted = Counter(Path(path).suffix for path in others)
        listed = ', '.join(f'{count} {end!r}' for end, count in counted.items())
        lines.append(
            f'{len(others)} of {len(taken) + len(others)} images in {images!r} are left out, '
            f'because they do not end with img_suffix={suffix!r}: {listed}; the first is '
            f'{min(others)!r}. Rename them, or give them to a data set of their own in a '
            'ConcatDataset'
        )
    if os.path.isdir(labels) and not _is_same(images, labels):
        lines += _find_lonely(labels, own_labels, images, suffix, taken)
    return lines


def _is_same(first: str, second: str) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def _split(folder: str, suffix: str, other: Any) -> List[List[str]]:
    """Pictures that end with a suffix, and those that would if they were of another format."""
    stem = suffix.rpartition('.')[0].lower()
    taken, others = [], []
    for path in _each_picture(folder):
        if path.endswith(suffix):
            taken.append(path)
        elif not (other and path.endswith(other)) and Path(path).stem.lower().endswith(stem):
            others.append(path)
    return [taken, others]


def _name(path: str, folder: str, suffix: str) -> str:
    return os.path.relpath(path, folder)[: -len(suffix) or None]


def _find_lonely(
    labels: str, suffix: str, images: str, image_suffix: str, taken: List[str]
) -> List[str]:
    """Label maps without an image."""
    known = {_name(path, images, image_suffix) for path in taken}
    pictures = [path for path in _each_picture(labels) if path.endswith(suffix)]
    lonely = [path for path in pictures if _name(path, labels, suffix) not in known]
    if not lonely or len(lonely) == len(pictures):  # the latter is an error of its own
        return []
    return [
        f'{len(lonely)} of {len(pictures)} label maps in {labels!r} have no image that the data '
        f'set takes; the first is {min(lonely)!r}'
    ]
