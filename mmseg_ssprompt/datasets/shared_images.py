"""Images that are in two data sets at once."""

from collections import defaultdict
from pathlib import Path
from typing import Dict, Hashable, List, Sequence, Set, Tuple

from ..files import sha256_of

__all__ = ['find_shared_images']


def find_shared_images(first: Sequence[str], second: Sequence[str]) -> List[Tuple[str, str]]:
    """Images of one data set that another has too: the same path, or the same name and content.

    Only files of the same name and size are read; under other names copies are not found.

    Args:
        first: Paths of one data set's images.
        second: Paths of the other's images.

    Returns:
        A pair of paths for each image of ``second`` that is in ``first``.
    """
    groups, others = _by_name(first), _by_name(second)
    contents: Dict[Hashable, str] = {}
    for key in groups.keys() & others.keys():
        for path in groups[key]:
            contents.setdefault(_content(path), path)
    return [
        (contents[_content(path)], path)
        for key in others
        if key in groups
        for path in sorted(others[key])
        if _content(path) in contents
    ]


def _by_name(paths: Sequence[str]) -> Dict[Hashable, Set[str]]:
    groups: Dict[Hashable, Set[str]] = defaultdict(set)
    for path in paths:
        file = Path(path)
        groups[(file.name, file.stat().st_size) if file.is_file() else path].add(path)
    return groups


def _content(path: str) -> Hashable:
    """What tells a file's content; of a path that is no local file, the path."""
    file = Path(path)
    return sha256_of(file) if file.is_file() else path
