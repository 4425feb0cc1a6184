"""Masks as run lengths, packed as COCO's files have them."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

__all__ = ['box_of_mask', 'pack_mask']

_COLUMNS = 1024  # of a mask at a time


def box_of_mask(mask: np.ndarray) -> Tuple[int, int, int, int]:
    """Left, top, width and height of a mask (H, W) bool in pixels; zeros where it is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return 0, 0, 0, 0
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def pack_mask(
    mask: np.ndarray, place: Tuple[int, int] = (0, 0), size: Optional[Tuple[int, int]] = None
) -> Dict[str, Any]:
    """The run lengths of a mask (h, w) bool, with ``size`` and ``counts`` as pycocotools has them.

    Runs of 0 and of 1 in turn go down the columns.

    Args:
        mask: Of a picture, or of a part of it outside of which nothing belongs to the mask.
        place: Top and left of that part in the picture, in pixels.
        size: (H, W) of the picture. Defaults to None: the mask is as large as the picture.
    """
    height, width = mask.shape if size is None else size
    top, left = place
    found = [np.empty(0, np.int64)]
    for start in range(0, mask.shape[1], _COLUMNS):  # large masks would be there several times
        inside = np.pad(mask[:, start : start + _COLUMNS].T, ((0, 0), (1, 1)))
        columns, rows = np.nonzero(inside[:, 1:] != inside[:, :-1])
        found.append((left + start + columns) * height + top + rows)
    changes = np.concatenate(found)
    # A run that goes on at the top of the next column has ended and begun at the same place.
    goes_on = changes[1:] == changes[:-1]
    is_change = np.ones(len(changes), bool)
    is_change[1:] &= ~goes_on
    is_change[:-1] &= ~goes_on
    edges = [0, *changes[is_change].tolist(), height * width]
    counts = np.diff(edges).tolist()
    if len(counts) > 1 and counts[-1] == 0:  # the mask goes on to the last pixel
        counts.pop()
    return dict(size=[height, width], counts=_pack_counts(counts))


def _pack_counts(counts: Sequence[int]) -> str:
    """Numbers in characters of five bits; from the fourth on, differences to the last but one."""
    text: List[str] = []
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        goes_on = True
        while goes_on:
            bits = number & 31
            number >>= 5
            goes_on = number != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 if goes_on else bits) + 48))
    return ''.join(text)
