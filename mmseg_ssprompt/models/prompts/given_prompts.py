"""Spatial prompts that a config gives, as points or boxes, in fractions of the frame."""

from typing import Any, List, Optional, Sequence

import torch
from torch import Tensor

from ...plain import is_number, shorten

__all__ = ['read_boxes', 'read_points']

_MOVE = (
    'Divide pixels by the width and height of the frame, to whose size photographs are scaled and '
    'padded'
)


def read_points(points: Any) -> Tensor:
    """Check points of a config.

    Args:
        points: (N, 2) numbers x and y, from 0 to 1; lists, an array or a tensor.

    Returns:
        (N, 2) float32.

    Raises:
        ValueError: If the list is empty, or some are not two numbers from 0 to 1; with the
            indices of all of them.
    """
    return _read('points', points, ('x', 'y'))


def read_boxes(boxes: Any) -> Tensor:
    """Check boxes of a config.

    Args:
        boxes: (N, 4) numbers left, top, right and bottom, from 0 to 1; lists, an array or a tensor.

    Returns:
        (N, 4) float32.

    Raises:
        ValueError: If the list is empty, or some are not four numbers from 0 to 1, or have no
            width or height; with the indices of all of them.
    """
    rows = _read('boxes', boxes, ('left', 'top', 'right', 'bottom'))
    flat = (rows[:, :2] >= rows[:, 2:]).any(dim=1).nonzero().flatten().tolist()
    if flat:
        raise ValueError(
            f'spatial_prompts.boxes[{flat[0]}]: expected left < right and top < bottom, found '
            f'{rows[flat[0]].tolist()}{_others(flat)}. A box is left, top, right, bottom, not a '
            'corner with width and height'
        )
    return rows


def _read(key: str, values: Any, names: Sequence[str]) -> Tensor:
    rows = values.tolist() if hasattr(values, 'tolist') else values
    what = f'numbers ({", ".join(names)}) from 0 to 1, fractions of the frame'
    if not isinstance(rows, (list, tuple)) or len(rows) == 0:
        raise ValueError(
            f'spatial_prompts.{key}: expected a list with {len(names)} {what} for each prompt, '
            f'found {shorten(values)}'
        )
    wrong = [i for i, row in enumerate(rows) if not _is_row(row, len(names))]
    if wrong:
        found = shorten(rows[wrong[0]])
        raise ValueError(
            f'spatial_prompts.{key}[{wrong[0]}]: expected {len(names)} {what}, found {found}'
            f'{_others(wrong)}.{_remedy(rows[wrong[0]], len(names)) or ""}'
        )
    return torch.tensor(rows, dtype=torch.float)


def _is_row(row: Any, length: int) -> bool:
    if not isinstance(row, (list, tuple)) or len(row) != length:
        return False
    return all(is_number(value) and 0 <= value <= 1 for value in row)


def _remedy(row: Any, length: int) -> Optional[str]:
    """What to do, where numbers are numbers and lie outside."""
    if isinstance(row, (list, tuple)) and len(row) == length and all(map(is_number, row)):
        return f' {_MOVE}'
    return None


def _others(indices: List[int]) -> str:
    return f' (and {len(indices) - 1} more, at indices {indices[1:11]})' if indices[1:] else ''
