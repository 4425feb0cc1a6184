"""Colours for classes that have none."""

import colorsys
from typing import List

__all__ = ['class_colours']

# Kelly's colours of maximum contrast (1965), without white, black and grey.
_KELLY = (
    *('f3c300', '875692', 'f38400', 'a1caf1', 'be0032', 'c2b280', '008856', 'e68fac', '0067a5'),
    *('f99379', '604e97', 'f6a600', 'b3446c', 'dcd300', '882d17', '8db600', '654522', 'e25822'),
    '2b3d26',
)
_GOLDEN = 0.618034


def class_colours(count: int) -> List[List[int]]:
    """RGB of a number of classes, which the eye tells apart as well as it can; always the same."""
    colours = [[int(text[i : i + 2], 16) for i in (0, 2, 4)] for text in _KELLY[:count]]
    for number in range(count - len(colours)):
        hue = (number * _GOLDEN) % 1
        value, saturation = ((0.9, 0.65), (0.6, 0.9), (0.95, 0.4))[number % 3]
        red_green_blue = colorsys.hsv_to_rgb(hue, saturation, value)
        colours.append([round(255 * part) for part in red_green_blue])
    return colours
