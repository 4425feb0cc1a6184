"""Masks as run lengths, packed as COCO's files have them."""

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

__all__ = ['box_of_mask', 'pack_mask']


def box_of_mask(mask: np.ndarray) -> Tuple[int, int, int, int]:
    """Left, top, width and height of a mask (H, W) bool in pixels; zeros where it is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return 0, 0, 0, 0
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top


def pack_mask(mask: np.ndarray) -> Dict[str, Any]:
    """The run lengths of a mask (H, W) bool, with ``size`` and ``counts`` as pycocotools has them.

    Runs of 0 and of 1 in turn go down the columns.
    """
    height, width = mask.shape
    left, _, columns, _ = box_of_mask(mask)
    # Outside of these columns are zeros alone.
    pixels = mask[:, left : left + columns].T.ravel()
    padded = np.concatenate([[False], pixels, [False]])
    changes = np.flatnonzero(padded[1:] != padded[:-1]) + left * height
    edges = [0, *changes.tolist(), height * width]
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
