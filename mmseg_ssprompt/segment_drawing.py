"""Objects and regions drawn over a photograph: colours, thin outlines, and each name once."""

import colorsys
from typing import Dict, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np

__all__ = ['DrawnSegment', 'draw_segments', 'enlarge_picture', 'find_middle', 'vary_colour']

_FONT = cv2.FONT_HERSHEY_SIMPLEX
#: Smaller pictures are enlarged, so that names leave room for what they name.
_SMALLEST = 288
#: Of the colour in an outline; the rest is white.
_OUTLINE = 0.4


class DrawnSegment(NamedTuple):
    """An object or a region.

    Attributes:
        mask: (H, W) bool.
        label: The number of its class, from 0 on.
        is_thing: Whether it is an object, which has a colour and an outline of its own.
    """

    mask: np.ndarray
    label: int
    is_thing: bool


def enlarge_picture(picture: np.ndarray) -> np.ndarray:
    """Repeat the pixels of a small picture or mask (H, W, ...), up to 288 on its shorter side."""
    factor = max(1, _SMALLEST // min(picture.shape[:2]))
    return picture if factor == 1 else picture.repeat(factor, axis=0).repeat(factor, axis=1)


def vary_colour(colour: Sequence[int], number: int) -> Tuple[int, int, int]:
    """The colour of the ``number``-th object of a class, RGB from 0 to 255.

    The first has the colour of the class; others are lighter or darker, and a little beside it in
    hue, in steps that come back to no colour.
    """
    if number == 0:
        return int(colour[0]), int(colour[1]), int(colour[2])
    step = number * 0.618033988749895 % 1  # the golden ratio: no two steps are near each other
    hue, light, saturation = colorsys.rgb_to_hls(*(value / 255 for value in colour))
    hue += 0.12 * (step - 0.5)
    light = min(max(light + 0.5 * ((step * 2 % 1) - 0.5), 0.2), 0.85)
    red, green, blue = colorsys.hls_to_rgb(hue % 1, light, max(saturation, 0.25))
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_segments(
    image: np.ndarray,
    segments: Sequence[DrawnSegment],
    names: Sequence[str],
    palette: Sequence[Sequence[int]],
    alpha: float = 0.6,
    with_labels: bool = True,
) -> np.ndarray:
    """Draw segments over an image; later ones lie on top of earlier ones.

    Objects have the colour of their class, varied, and an outline. The name of each class is
    written once, into the largest of its segments.

    Args:
        image: (H, W, 3) uint8, RGB.
        segments: Their masks have the size of the image.
        names: The classes.
        palette: Their colours, RGB from 0 to 255.
        alpha: Weight of the colours, from 0 to 1. Defaults to 0.6.
        with_labels: Whether names are written. Defaults to True.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If a mask has not the size of the image.
    """
    height, width = image.shape[:2]
    owner = np.full((height, width), -1, np.int32)
    colours: List[Tuple[int, int, int]] = []
    counts: Dict[int, int] = {}
    for number, segment in enumerate(segments):
        if segment.mask.shape != (height, width):
            raise ValueError(
                f'expected a mask of {height} x {width} pixels as the image has, found '
                f'{segment.mask.shape[0]} x {segment.mask.shape[1]}'
            )
        owner[segment.mask] = number
        count = counts.get(segment.label, 0) if segment.is_thing else 0
        counts[segment.label] = count + 1
        colours.append(vary_colour(palette[segment.label], count))
    table = np.array([*colours, (0, 0, 0)], np.float32)
    drawn = image.astype(np.float32)
    inside = owner >= 0
    drawn[inside] = (1 - alpha) * drawn[inside] + alpha * table[owner[inside]]
    thickness = 1 if min(height, width) < 600 else 2
    is_thing = np.array([*(segment.is_thing for segment in segments), False])
    outline = _find_outline(owner, thickness) & is_thing[owner]
    drawn[outline] = _OUTLINE * table[owner[outline]] + (1 - _OUTLINE) * 255
    picture = np.ascontiguousarray(drawn.round().astype(np.uint8))
    if with_labels:
        _write_names(picture, owner, segments, names, palette)
    return picture


def _find_outline(owner: np.ndarray, thickness: int) -> np.ndarray:
    """Pixels of segments that others touch within ``thickness`` pixels, (H, W) bool.

    The border of the image is no outline.
    """
    size = 2 * thickness + 1
    kernel, numbers = np.ones((size, size), np.uint8), owner.astype(np.float32)
    low, high = cv2.erode(numbers, kernel), cv2.dilate(numbers, kernel)
    outline: np.ndarray = low != high
    return outline


def _write_names(
    picture: np.ndarray,
    owner: np.ndarray,
    segments: Sequence[DrawnSegment],
    names: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> None:
    """Write the name of each class into the largest of its segments, as far as it is visible."""
    areas = np.bincount(owner[owner >= 0], minlength=len(segments)).tolist()
    largest: Dict[int, int] = {}
    for number, segment in enumerate(segments):
        if areas[number] > areas[largest.setdefault(segment.label, number)]:
            largest[segment.label] = number
    scale = max(min(picture.shape[:2]) / 800, 0.3)
    # The names of small segments lie on top, which others would hide.
    for label, number in sorted(largest.items(), key=lambda each: -areas[each[1]]):
        if areas[number]:
            place = find_middle(owner == number)
            _write(picture, str(names[label]), place, palette[label], scale)


def find_middle(mask: np.ndarray) -> Tuple[int, int]:
    """The pixel (x, y) of a mask that is farthest from its edge."""
    padded = np.pad(mask, 1).astype(np.uint8)
    distances = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
    _, _, _, (x, y) = cv2.minMaxLoc(distances)
    return x - 1, y - 1


def _write(
    picture: np.ndarray,
    text: str,
    middle: Tuple[int, int],
    colour: Sequence[int],
    scale: float,
) -> None:
    """Write a text around a place on a box of a colour, inside of the picture."""
    thickness = 1 if scale < 0.8 else 2
    (width, height), below = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = max(2, round(4 * scale))
    box = width + 2 * margin, height + below + 2 * margin
    left, top = (
        int(np.clip(place - side // 2, 0, max(0, whole - side)))
        for place, side, whole in zip(middle, box, picture.shape[1::-1])
    )
    cv2.rectangle(picture, (left, top), (left + box[0], top + box[1]), [int(c) for c in colour], -1)
    red, green, blue = colour
    is_light = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    ink = (0, 0, 0) if is_light else (255, 255, 255)
    start = (left + margin, top + margin + height)
    cv2.putText(picture, text, start, _FONT, scale, ink, thickness, cv2.LINE_AA)
