"""Pictures that lie in the folders of a data set, and that it does not take."""

import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping

__all__ = ['SUFFIXES', 'count_pictures', 'find_left_out', 'walk_files']

#: Ends of the names of pictures, in lower case.
SUFFIXES = ('.bmp', '.jfif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')


def walk_files(folder: str) -> Iterator[str]:
    """Paths of the files below a folder of this machine, without what is hidden.

    Links are followed, but for those to a folder in which they lie, which have no end.
    """
    for where, folders, names in os.walk(folder, followlinks=True):
        above = os.path.realpath(where)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith('.') and not _contains(os.path.join(where, name), above)
        )
        yield from (os.path.join(where, name) for name in sorted(names) if name[:1] != '.')


def _contains(link: str, folder: str) -> bool:
    """Whether a link leads to a folder or to one above it."""
    if not os.path.islink(link):
        return False
    real = os.path.realpath(link)
    return os.path.commonpath([real, folder]) == real


def _list_pictures(folder: str) -> List[str]:
    """Paths of pictures below a folder of this machine, without hidden files."""
    return [path for path in walk_files(folder) if path.lower().endswith(SUFFIXES)]


def count_pictures(folder: str) -> Dict[str, int]:
    """How many pictures of each suffix, as it is spelt, lie in a folder and in those below it."""
    return dict(Counter(Path(path).suffix for path in _list_pictures(folder)))


def find_left_out(dataset: Any) -> List[str]:
    """Say which pictures in the image folder of a data set it does not take.

    Only data sets that take all files of a folder with a suffix are looked at. The list has one
    sentence, or none.
    """
    prefix: Mapping[str, Any] = getattr(dataset, 'data_prefix', {})
    suffix: Any = getattr(dataset, 'img_suffix', None)
    folder, labels = (str(prefix.get(key) or '') for key in ('img_path', 'seg_map_path'))
    if not isinstance(suffix, str) or getattr(dataset, 'ann_file', None):
        return []
    pictures = _list_pictures(folder) if os.path.isdir(folder) else []
    if os.path.realpath(folder) == os.path.realpath(labels):
        pictures = [path for path in pictures if not path.endswith(dataset.seg_map_suffix)]
    taken = sum(path.endswith(suffix) for path in pictures)
    # Those that end with the suffix but for its format, such as .PNG; others may be of other use.
    stem = suffix.rpartition('.')[0].lower()
    others = [p for p in pictures if not p.endswith(suffix) and Path(p).stem.lower().endswith(stem)]
    if not others:
        return []
    counted = Counter(Path(path).suffix for path in others)
    listed = ', '.join(f'{count} {end!r}' for end, count in counted.items())
    return [
        f'{len(others)} of {taken + len(others)} images in {folder!r} are left out, because they '
        f'do not end with img_suffix={suffix!r}: {listed}; the first is {min(others)!r}. Rename '
        'them, or give them to a data set of their own in a ConcatDataset'
    ]
