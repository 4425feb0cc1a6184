"""What was found in a picture, drawn: label maps, masks, a sheet of them, differences."""

import math
from typing import List, Optional, Sequence, Tuple

import cv2
import numpy as np

from ..prediction.prediction import MIN_SCORE, FoundObject
from ..segment_drawing import DrawnSegment, draw_segments
from .answers import LabelView, MaskFacts

__all__ = [
    'count_columns',
    'draw_difference',
    'draw_mask',
    'draw_overlay',
    'draw_sheet',
    'mask_colour',
]

#: The colour of what differs, and that of masks without a class.
_DIFFERS, NO_OBJECT = (255, 45, 150), (200, 200, 200)
#: Weight of the colour of a mask.
_MASK_ALPHA = 0.72


def draw_overlay(view: LabelView) -> np.ndarray:
    """The colours of a label map, (h, w, 3) uint8; of objects (h, w, 4), clear where none is."""
    palette = np.asarray(view.naming.palette, np.uint8)
    if view.objects is None:
        return np.asarray(palette[view.labels])
    size = view.labels.shape
    first = view.naming.label_ids.classes.start
    kept = _kept(view.objects)
    drawn = [DrawnSegment(each.on_canvas(size), each.label, each.is_thing) for each in kept]
    black: np.ndarray = np.zeros((*size, 3), np.uint8)
    colours = draw_segments(
        *(black, drawn, view.naming.classes[first:], view.naming.palette[first:]),
        alpha=1.0,
        with_labels=False,
    )
    is_drawn = np.any([each.mask for each in drawn], axis=0) if drawn else np.zeros(size, bool)
    return np.dstack([colours, np.where(is_drawn, 255, 0).astype(np.uint8)])


def _kept(objects: Sequence[FoundObject]) -> List[FoundObject]:
    """Those that are drawn, the best on top."""
    return sorted((each for each in objects if each.score >= MIN_SCORE), key=lambda o: o.score)


def draw_mask(picture: np.ndarray, mask: np.ndarray, colour: Sequence[int]) -> np.ndarray:
    """A mask (h, w) of probabilities over a grey photograph (h, w, 3), with its outline."""
    drawn = _dim(picture)
    alpha = (_MASK_ALPHA * np.clip(mask, 0, 1))[..., None]
    drawn = drawn * (1 - alpha) + alpha * np.asarray(colour, np.float32)
    shown = np.ascontiguousarray(drawn.round().astype(np.uint8))
    outlines, _ = cv2.findContours(
        (mask > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(shown, outlines, -1, (255, 255, 255), 1, cv2.LINE_AA)
    return shown


def draw_difference(picture: np.ndarray, differs: np.ndarray) -> np.ndarray:
    """Where two label maps differ, (h, w) bool, over a grey photograph."""
    drawn = _dim(picture)
    drawn[differs] = 0.25 * drawn[differs] + 0.75 * np.asarray(_DIFFERS, np.float32)
    return np.asarray(drawn.round().astype(np.uint8))


def _dim(picture: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.repeat((0.55 * grey + 20)[..., None], 3, axis=2)


def count_columns(count: int) -> int:
    """How many masks a row of the sheet has: that of a square grid of points."""
    return math.ceil(math.sqrt(count))


def draw_sheet(
    picture: np.ndarray,
    masks: np.ndarray,
    facts: Sequence[MaskFacts],
    palette: Sequence[Sequence[int]],
    gap: int = 2,
) -> Tuple[np.ndarray, int, int]:
    """All masks beside each other, each in the colour of its class.

    Args:
        picture: The photograph.
        masks: (N, h, w) probabilities at a small size.
        facts: What is known of each.
        palette: The colours of the classes.
        gap: Clear pixels around each. Defaults to 2.

    Returns:
        (H, W, 4) uint8, its number of columns, and that of its rows.
    """
    count, height, width = masks.shape
    columns = count_columns(count)
    rows = -(-count // columns)
    cell_height, cell_width = height + 2 * gap, width + 2 * gap
    sheet: np.ndarray = np.zeros((rows * cell_height, columns * cell_width, 4), np.uint8)
    small = _dim(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
    for number, (mask, each) in enumerate(zip(masks, facts)):
        colour = mask_colour(each.label, palette)
        strength = _MASK_ALPHA if each.label is not None else 0.35
        alpha = (strength * mask)[..., None]
        top, left = number // columns * cell_height + gap, number % columns * cell_width + gap
        cell = sheet[top : top + height, left : left + width]
        cell[..., :3] = (small * (1 - alpha) + alpha * np.asarray(colour, np.float32)).round()
        cell[..., 3] = 255 if each.label is not None else 150
    return sheet, columns, rows


def mask_colour(label: Optional[int], palette: Sequence[Sequence[int]]) -> Sequence[int]:
    """The colour of a class, by its index; grey for "no object"."""
    return NO_OBJECT if label is None else palette[label]
