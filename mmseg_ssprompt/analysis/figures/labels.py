"""Label maps as pictures."""

import numpy as np

__all__ = ['colour_labels']

_IGNORED_COLOUR = (0, 0, 0)


def colour_labels(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Paint a label map.

    Args:
        labels: (H, W) class ids, not negative; whatever is no class, such as 255, becomes black.
        palette: (C, 3) RGB, 0 to 255.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    colours = np.concatenate([palette, [_IGNORED_COLOUR]]).astype(np.uint8)
    painted: np.ndarray = colours[np.minimum(labels, len(palette))]
    return painted
