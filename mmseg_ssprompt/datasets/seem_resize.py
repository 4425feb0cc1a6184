"""Resizing images as SEEM does."""

from typing import Any, Dict, Tuple

from mmseg.registry import TRANSFORMS

from .label_maps import ResizeWithLabels

__all__ = ['SEEMResize', 'seem_size']


@TRANSFORMS.register_module()
class SEEMResize(ResizeWithLabels):
    """Resize the shortest side to one size, unless the longest gets larger than another.

    As SEEM, to the pixel, by Pillow's bilinear filter. ``Resize(keep_ratio=True)`` differs by a
    pixel for a few sizes (6 of 51188 at 800/1333), and mmseg's ``ResizeShortestEdge`` resizes by
    OpenCV, to sizes of its own rounding.

    Args:
        min_size: What the shortest side becomes, in pixels.
        max_size: What the longest side may be at most, in pixels.

    Raises:
        ValueError: If a size is no positive whole number.
    """

    def __init__(self, min_size: int, max_size: int) -> None:
        for name, size in dict(min_size=min_size, max_size=max_size).items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ValueError(
                    f'SEEMResize: expected {name} as a positive whole number of pixels, found '
                    f'{size!r}'
                )
        super().__init__(scale=(max_size, min_size), keep_ratio=False, backend='pillow')
        self.min_size, self.max_size = min_size, max_size

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Resize image, label map and segments; these keep their type, uint8 or uint16."""
        height, width = seem_size(results['img'].shape[:2], self.min_size, self.max_size)
        self.scale = (width, height)
        return super().transform(results)


def seem_size(size: Tuple[int, int], min_size: int, max_size: int) -> Tuple[int, int]:
    """The size to which SEEM resizes an image.

    Args:
        size: (H, W) of the image, in pixels.
        min_size: See :class:`SEEMResize`.
        max_size: See :class:`SEEMResize`.

    Returns:
        (H, W). It is rounded once, at the end: the order of operations decides about a pixel.
    """
    factor = min_size / min(size)
    sides = [float(min_size) if side == min(size) else factor * side for side in size]
    longest = max(sides)
    if longest > max_size:
        sides = [side * (max_size / longest) for side in sides]
    height, width = (int(side + 0.5) for side in sides)
    return height, width
