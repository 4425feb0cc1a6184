"""Short names that tell folders apart, the same wherever they lie."""

import os
from pathlib import PurePath
from typing import List, Sequence

__all__ = ['tell_apart']


def tell_apart(folders: Sequence[str]) -> List[str]:
    """The shortest ends of paths that are different where the paths are.

    Args:
        folders: Paths; some may be the same.

    Returns:
        For each of them its last parts, as many as are needed, such as ``'day/img'`` and
        ``'night/img'`` for ``/data/day/img`` and ``/data/night/img``.
    """
    parts = [PurePath(os.path.normpath(folder)).parts for folder in folders]
    longest = max(map(len, parts), default=0)
    for length in range(1, longest + 1):
        ends = ['/'.join(each[-length:]) for each in parts]
        if len(set(ends)) == len(set(parts)):
            return ends
    return ['/'.join(each) for each in parts]
