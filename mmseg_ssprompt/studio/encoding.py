"""Pictures as texts that a page has within itself, so that nothing is served as a file."""

import base64
from typing import Sequence

import cv2
import numpy as np

__all__ = ['as_jpeg', 'as_png', 'encode_labels']

_QUALITY = 88
#: Of PNG files, from 0 to 9: what is shown once need not be small.
_COMPRESSION = 1


def as_jpeg(picture: np.ndarray) -> str:
    """A picture (h, w, 3) uint8, red first, as a data URI."""
    return _encode('.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY], 'jpeg')


def as_png(picture: np.ndarray) -> str:
    """A picture (h, w, 3), or with alpha (h, w, 4), uint8, red first, as a data URI."""
    order = [2, 1, 0, 3][: picture.shape[2]]
    options = [cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION]
    return _encode('.png', np.ascontiguousarray(picture[..., order]), options, 'png')


def encode_labels(labels: np.ndarray) -> str:
    """A label map (H, W) uint8 or uint16 as a data URI: a PNG of its numbers."""
    return _encode('.png', labels, [], 'png')


def _encode(suffix: str, picture: np.ndarray, options: Sequence[int], kind: str) -> str:
    done, content = cv2.imencode(suffix, picture, list(options))
    assert done  # arrays of these kinds can be encoded
    return f'data:image/{kind};base64,{base64.b64encode(content.tobytes()).decode()}'
