"""Pictures that are open: parts of them for the model, and small ones to look at."""

from typing import Any, Iterator, Optional, Protocol, Tuple

import cv2
import numpy as np

from ..datasets.checks import UnreadableFileError
from .geotiff import RasterPicture, can_read_windows, read_tiff_facts
from .input_files import InputFile
from .tiles import Part

__all__ = ['LoadedPicture', 'Picture', 'count_frames', 'each_frame', 'open_windows', 'to_bgr']

#: TIFF files with more pixels are read by windows also where they have no georeference.
_BY_WINDOWS = 25_000_000


class Picture(Protocol):
    """A picture of which parts can be read."""

    @property
    def size(self) -> Tuple[int, int]:
        """(H, W) in pixels."""

    def read(self, part: Part) -> np.ndarray:
        """A part of it, (h, w, 3) uint8, blue first."""

    def reduce(self, size: Tuple[int, int]) -> np.ndarray:
        """All of it at a smaller size, (h, w, 3) uint8, red first."""

    def find_void(self, part: Part) -> Optional[np.ndarray]:
        """Where a part has no data, (h, w) bool; None where all of it has."""


class LoadedPicture:
    """A picture in memory.

    Args:
        pixels: (H, W, 3) uint8, blue first.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    @property
    def size(self) -> Tuple[int, int]:
        """(H, W) in pixels."""
        return self._pixels.shape[0], self._pixels.shape[1]

    def read(self, part: Part) -> np.ndarray:
        """See :class:`Picture`."""
        return self._pixels[part.rows, part.columns]

    def reduce(self, size: Tuple[int, int]) -> np.ndarray:
        """See :class:`Picture`."""
        small = self._pixels
        if size != self.size:
            small = cv2.resize(small, size[::-1], interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(small[..., ::-1])

    def find_void(self, part: Part) -> None:
        """See :class:`Picture`."""
        return


def to_bgr(picture: Any) -> np.ndarray:
    """A picture as Python has it, an array or one of Pillow, as OpenCV has it.

    Args:
        picture: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8, grey or red first; or one of
            Pillow.

    Returns:
        (H, W, 3) uint8, blue first.

    Raises:
        ValueError: If it is something else.
    """
    pixels = np.asarray(picture.convert('RGB') if hasattr(picture, 'convert') else picture)
    shape = pixels.shape
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            'picture: expected an array (H, W), (H, W, 3) or (H, W, 4) of uint8, grey or red '
            f'first, found {shape} of {pixels.dtype}'
        )
    if 0 in shape:
        raise ValueError(f'picture: expected pixels, found an array {shape}')
    colours = pixels[..., :3] if pixels.shape[2] > 1 else np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(colours[..., ::-1])


def open_windows(file: InputFile) -> Optional[RasterPicture]:
    """Open a TIFF file to read windows of it, where that is of use; else None.

    Georeferenced and large ones are read so, where rasterio is installed.
    """
    facts = read_tiff_facts(file.path) if file.is_tiff and can_read_windows() else None
    if facts is None:
        return None
    is_large = facts.is_upright and facts.size[0] * facts.size[1] > _BY_WINDOWS
    return RasterPicture(file.path) if facts.is_georeferenced or is_large else None


def count_frames(file: InputFile) -> int:
    """How many frames a video says that it has; 0 if it does not, or cannot be read."""
    video = cv2.VideoCapture(str(file.path))
    try:
        return max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
    finally:
        video.release()


def each_frame(file: InputFile, every: int, wanted: Any) -> Iterator[Tuple[int, np.ndarray]]:
    """Frames of a video with their numbers, from 0 on; (H, W, 3) uint8, blue first.

    Args:
        file: The video.
        every: One frame in so many is taken.
        wanted: Of the number of a frame, whether it is needed. Others are not decoded.

    Raises:
        UnreadableFileError: If it cannot be read, or not as far as it says.
    """
    video = cv2.VideoCapture(str(file.path))
    try:
        promised = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        number = 0
        while video.grab():
            if number % every == 0 and wanted(number):
                is_whole, frame = video.retrieve()
                if not is_whole:
                    break
                yield number, frame
            number += 1
    finally:
        video.release()
    # What files say is rounded, and of some kinds estimated.
    if number == 0 or number < 0.95 * promised:
        raise UnreadableFileError(
            f'video {str(file.path)!r}: expected '
            f'{f"{promised} frames" if promised > 0 else "a video that OpenCV reads"}, found '
            f'{number} that can be read. Is it cut off, or no video?'
        )
