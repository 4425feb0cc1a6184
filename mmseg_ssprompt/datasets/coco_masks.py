"""Masks of COCO's annotations of objects: polygons and run lengths, as pycocotools draws them.

``tests/test_datasets/test_coco_masks.py`` holds them against masks that pycocotools 2.0 made.
"""

from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np

__all__ = ['draw_mask', 'find_mask_problem']

# pycocotools draws the edges of polygons on a grid this many times as fine as the pixels.
_FINE = 5
#: How far a polygon may lie outside of its picture, in pixels: annotators round.
_OUTSIDE = 2.0


def find_mask_problem(segmentation: Any, size: Tuple[int, int]) -> Optional[str]:
    """Say what is wrong with the mask of an annotation, or None; nothing is drawn.

    Args:
        segmentation: What the file has.
        size: (H, W) of the picture.
    """
    if isinstance(segmentation, Mapping):
        return _find_run_problem(segmentation, size)
    if not isinstance(segmentation, (list, tuple)):
        return f'expected polygons or run lengths, found {type(segmentation).__name__}'
    if not segmentation:
        return 'expected a mask, found no polygon: the object has no pixels'
    for number, polygon in enumerate(segmentation):
        problem = _find_polygon_problem(polygon, size)
        if problem is not None:
            return f'polygon {number}: {problem}'
    return None


def _find_polygon_problem(polygon: Any, size: Tuple[int, int]) -> Optional[str]:
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
        return f'expected x, y, x, y, ... of at least three points, found {str(polygon)[:60]}'
    low, high = points.reshape(-1, 2).min(0), points.reshape(-1, 2).max(0)
    if (low < -_OUTSIDE).any() or (high > np.array(size[::-1]) + _OUTSIDE).any():
        found = f'x from {low[0]:g} to {high[0]:g} and y from {low[1]:g} to {high[1]:g}'
        return f'expected points in the picture of {size[0]} x {size[1]}, found {found}'
    return None


def _find_run_problem(runs: Mapping[str, Any], size: Tuple[int, int]) -> Optional[str]:
    found = runs.get('size')
    if not isinstance(found, (list, tuple)) or tuple(found) != tuple(size):
        return f'expected run lengths of the size {list(size)} (height, width), found {found}'
    try:
        counts = _decode_counts(runs.get('counts'))
    except (TypeError, ValueError, IndexError):
        return (
            f'expected counts as a list or as COCO packs it, found {str(runs.get("counts"))[:60]}'
        )
    if any(count < 0 for count in counts) or sum(counts) != size[0] * size[1]:
        return (
            f'expected run lengths that add up to {size[0]} x {size[1]} = {size[0] * size[1]}, '
            f'found {sum(counts)}'
        )
    return None


def draw_mask(segmentation: Any, size: Tuple[int, int]) -> np.ndarray:
    """The mask of an annotation, (H, W) bool.

    Args:
        segmentation: Polygons, a list of [x, y, x, y, ...] in pixels, whose union is taken; or run
            lengths ``dict(size=[H, W], counts=...)``, packed or not. Without a problem.
        size: (H, W) of the picture.
    """
    if isinstance(segmentation, Mapping):
        return _draw_runs(_decode_counts(segmentation['counts']), size)
    mask = np.zeros(size, bool)
    for polygon in segmentation:
        mask |= _draw_polygon(np.asarray(polygon, np.float64).reshape(-1, 2), size)
    return mask


def _decode_counts(counts: Any) -> List[int]:
    """Run lengths as numbers; packed ones have five bits a character, and differences."""
    if isinstance(counts, (list, tuple)):
        return [int(count) for count in counts]
    text = counts.decode('ascii') if isinstance(counts, bytes) else counts
    numbers: List[int] = []
    place = 0
    while place < len(text):
        number = shift = 0
        goes_on = True
        while goes_on:
            bits = ord(text[place]) - 48
            if not 0 <= bits < 64:
                raise ValueError(f'{text[place]!r} is no packed number')
            number |= (bits & 31) << shift
            shift, place, goes_on = shift + 5, place + 1, bool(bits & 32)
        if bits & 16:
            number -= 1 << shift  # it is negative
        numbers.append(number + numbers[-2] if len(numbers) > 2 else number)
    return numbers


def _draw_runs(counts: Sequence[int], size: Tuple[int, int]) -> np.ndarray:
    """Runs of 0 and 1 in turn, down the columns, as a mask."""
    values = np.arange(len(counts)) % 2 == 1
    return np.asarray(np.repeat(values, counts).reshape(size[::-1]).T)


def _draw_polygon(points: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """The inside of a polygon (K, 2), in pixels.

    Each crossing of a column's middle toggles all pixels below it, as in COCO's rleFrPoly.
    """
    height, width = size
    corners = np.trunc(_FINE * points + 0.5).astype(np.int64)
    us, vs = [], []
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0)):
        along, down = abs(x1 - x0), abs(y1 - y0)
        is_flat = along >= down
        turned = (x0 > x1) if is_flat else (y0 > y1)
        if turned:
            x0, y0, x1, y1 = x1, y1, x0, y0
        steps = np.arange(max(along, down) + 1)
        steps = steps[::-1] if turned else steps
        if is_flat:
            slope = (y1 - y0) / along if along else 0.0
            us.append(steps + x0)
            vs.append(np.trunc(y0 + slope * steps + 0.5).astype(np.int64))
        else:
            vs.append(steps + y0)
            us.append(np.trunc(x0 + (x1 - x0) / down * steps + 0.5).astype(np.int64))
    u, v = np.concatenate(us), np.concatenate(vs)
    crosses = np.flatnonzero(u[1:] != u[:-1]) + 1
    # u[j] where it falls, u[j] - 1 where it rises: the finer column that was crossed.
    column = np.where(u[crosses] < u[crosses - 1], u[crosses], u[crosses] - 1)
    x = (column + 0.5) / _FINE - 0.5
    y = (np.minimum(v[crosses], v[crosses - 1]) + 0.5) / _FINE - 0.5
    is_middle = (x == np.floor(x)) & (x >= 0) & (x <= width - 1)
    x, y = x[is_middle].astype(np.int64), np.ceil(y[is_middle].clip(0, height)).astype(np.int64)
    mask = np.zeros(size, bool)
    if len(x):
        left, right = int(x.min()), int(x.max()) + 1  # in each column crossings are even
        count = (right - left) * height
        toggles = np.bincount((x - left) * height + y, minlength=count + 1)[:count]
        mask[:, left:right] = (np.cumsum(toggles) % 2 == 1).reshape(-1, height).T
    return mask
