"""Whether an image file becomes the picture that it shows."""

from typing import Any, Dict, List, NamedTuple, Optional

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio

from .checks import DatasetError, read_with
from .pictures import PictureHeader, read_picture

__all__ = ['CheckedImage', 'check_image', 'check_values']

#: Pillow's modes that the default loader, OpenCV, turns into the same 8-bit colours; 16 bits too.
_CONVERTED = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'CMYK', 'YCbCr')
#: As 8-bit values: what 12 bits in a 16-bit file do not exceed.
_DARK = 15
#: What a few bright pixels do not change.
_PERCENTILE = 99
#: Pixels on each side that are looked at first.
_GRID = 32


class CheckedImage(NamedTuple):
    """A sample whose image was read.

    Attributes:
        sample: With what the loader has filled.
        remarks: Keys of :data:`.survey.REMARKS`.
        orientation: EXIF's orientation that the loader has applied; 1 is none.
    """

    sample: Dict[str, Any]
    remarks: List[str]
    orientation: int


def check_image(loader: Any, sample: Dict[str, Any]) -> CheckedImage:
    """Read an image with its loader, and refuse one that the model would see otherwise.

    Args:
        loader: A ``LoadImageFromFile``. Of others only the result is checked, because they may
            read something else than ``img_path``.
        sample: What ``dataset.get_data_info`` gives.

    Raises:
        DatasetError: If the file cannot be read or is damaged, has more pixels than the loader
            decodes, is of a kind whose values the loader does not keep, or does not become an
            array (H, W, 3) of values from 0 to 255.
    """
    path = sample.get('img_path')
    header = None
    if type(loader) is LoadImageFromFile:
        header = read_picture(loader, path, 'image')
    if header is not None:
        _check_mode(header, loader.imdecode_backend, path)
    sample = read_with(loader, sample, 'image')
    image = sample.get('img')
    _check_channels(image, loader, path)
    remarks = check_values(image, path, _find_source_type(loader, header, path))
    if header is None:
        return CheckedImage(sample, remarks, 1)
    remarks += ['16 bits'] * header.has_16_bits + ['alpha'] * header.has_alpha
    return CheckedImage(sample, remarks, _applied_orientation(header, loader))


def _check_channels(image: Any, loader: Any, path: Optional[str]) -> None:
    shape = getattr(image, 'shape', None)
    if shape is None or len(shape) != 3 or shape[2] != 3:
        colour = getattr(loader, 'color_type', 'color')
        advice = 'let it return an array (H, W, 3)'
        if colour != 'color':
            advice = f'leave out color_type={colour!r}, which is then "color"'
        raise DatasetError(
            f'image {str(path)!r}: expected 3 channels, got the shape {shape} from '
            f'{type(loader).__name__}: {advice}'
        )


def check_values(image: np.ndarray, path: Optional[str], source: Optional[str] = None) -> List[str]:
    """Refuse values that cannot be those of a photograph from 0 to 255.

    Args:
        image: (H, W, 3), as a loader returned it.
        path: Of the file, for errors.
        source: The type of the numbers in the file, if it is known and not uint8; then values that
            are all small have been scaled down. Defaults to None.

    Returns:
        Keys of :data:`.survey.REMARKS`: 'dark' and 'constant'.

    Raises:
        DatasetError: If they are no numbers, or too small or large to be such values.
    """
    if image.dtype != np.uint8:
        _check_floats(image, path)
    remarks = ['constant'] * _is_constant(image)
    if _find_percentile(image) > _DARK:
        return remarks
    if source is not None:
        raise DatasetError(
            f'image {str(path)!r}: expected 16-bit values from 0 to 65535, of which the upper 8 '
            f'bits are kept, found {_describe_dark(image)}: it would be nearly black ({source} in '
            'the file). Scale the values to 16 bits, or convert the image to 8 bits'
        )
    return [*remarks, 'dark']


def _describe_dark(image: np.ndarray) -> str:
    top = int(image.max())
    if top <= _DARK:
        return f'none above {256 * (top + 1) - 1}'
    return f'{_PERCENTILE} % of them below {256 * (_DARK + 1)}'


def _check_floats(image: np.ndarray, path: Optional[str]) -> None:
    """Refuse what has not 8 bits and does not count from 0 to 255 either."""
    where = f'image {str(path)!r}: expected values from 0 to 255'
    if image.dtype.kind not in 'fiu':
        raise DatasetError(f'{where}, found {image.dtype}')
    if image.dtype.kind == 'f' and not np.isfinite(image).all():
        bad = int((~np.isfinite(image)).sum())
        raise DatasetError(f'{where}, found {bad} of {image.size} that are NaN or infinite')
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 255 or (image.dtype.kind == 'f' and high <= 1 and high > low):
        raise DatasetError(
            f'{where}, found {image.dtype} from {low:g} to {high:g}, which '
            f'data_preprocessor.mean and std do not fit. Scale them to 0 ... 255'
        )


def _find_percentile(image: np.ndarray) -> float:
    """What nearly all values do not exceed; exactly only where it is small."""
    rows, columns = (max(1, side // _GRID) for side in image.shape[:2])
    bright = float(np.percentile(image[::rows, ::columns], _PERCENTILE))
    return bright if bright > _DARK else float(np.percentile(image, _PERCENTILE))


def _is_constant(image: np.ndarray) -> bool:
    rows, columns = (max(1, side // _GRID) for side in image.shape[:2])
    first = image[0, 0]
    return bool((image[::rows, ::columns] == first).all() and (image == first).all())


def _find_source_type(
    loader: Any, header: Optional[PictureHeader], path: Optional[str]
) -> Optional[str]:
    """The type of the numbers in a file, if it is not uint8 and is known."""
    if header is not None:
        return 'uint16' if header.has_16_bits else None
    if type(loader) is not LoadImageFromFile:
        return None
    content = fileio.get(path, backend_args=loader.backend_args)
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return None if decoded is None or decoded.dtype == np.uint8 else str(decoded.dtype)


def _check_mode(header: PictureHeader, backend: str, path: Optional[str]) -> None:
    grey_16 = header.has_16_bits and header.mode not in _CONVERTED
    if header.mode not in _CONVERTED and not (grey_16 and backend == 'cv2'):
        raise DatasetError(
            f'image {str(path)!r}: expected grey or colours of 8 or 16 bits, found '
            f'{header.format} with {header.mode!r} pixels, whose values {backend!r} does not '
            'keep. Convert it to 8-bit RGB'
        )


def _applied_orientation(header: PictureHeader, loader: Any) -> int:
    applies = loader.color_type in ('color', 'grayscale')
    applies = applies and loader.imdecode_backend in ('cv2', 'pillow')
    return header.orientation if applies else 1
