"""Whether image files become the pictures that they show, and label maps the ids in them."""

from typing import Any, Dict, List, NamedTuple, Optional

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations

from .checks import DatasetError, read_with
from .label_maps import LoadLabelMap
from .pictures import PictureHeader, read_picture

__all__ = ['CheckedFile', 'check_image', 'check_labels']

#: Pillow's modes that the default loader, OpenCV, turns into the same 8-bit colours; 16 bits too.
_CONVERTED = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'CMYK', 'YCbCr')
#: An image is dark if this percentile, which a few bright pixels do not change, is not exceeded.
_DARK, _PERCENTILE = 15, 99
#: Pixels on each side that are looked at first.
_GRID = 32


class CheckedFile(NamedTuple):
    """A sample whose image or label map was read.

    Attributes:
        sample: With what the loader has filled.
        remarks: Keys of :data:`.survey.REMARKS`.
        orientation: EXIF's orientation that the loader has applied; 1 is upright.
    """

    sample: Dict[str, Any]
    remarks: List[str]
    orientation: int = 1


def check_image(loader: Any, sample: Dict[str, Any]) -> CheckedFile:
    """Read an image with its loader, and refuse one that the model would see otherwise.

    Args:
        loader: A ``LoadImageFromFile``. The file of another loader is not checked, because it
            may read something else than ``img_path``.
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
    image: Any = sample.get('img')
    _check_channels(image, loader, path)
    remarks = _check_values(image, path)
    if header is None:
        return CheckedFile(sample, remarks)
    remarks += ['16 bits'] * header.has_16_bits + ['alpha'] * header.has_alpha
    return CheckedFile(sample, remarks, _applied_orientation(header, loader))


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


def _check_values(image: np.ndarray, path: Optional[str]) -> List[str]:
    """Refuse values that cannot be those of a photograph from 0 to 255; return remarks."""
    if image.dtype != np.uint8:
        _check_floats(image, path)
    rows, columns = (max(1, side // _GRID) for side in image.shape[:2])
    some = image[::rows, ::columns]  # tells most images apart in little time
    is_constant = all(bool((values == image[0, 0]).all()) for values in (some, image))
    is_dark = all(np.percentile(values, _PERCENTILE) <= _DARK for values in (some, image))
    return ['constant'] * is_constant + ['dark'] * is_dark


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


def check_labels(loader: Any, sample: Dict[str, Any]) -> CheckedFile:
    """Read a label map with its loader, and refuse one whose ids would change on the way.

    mmseg's loader makes bytes of all values, so that 256 becomes 0, and drops sides of one pixel.

    Args:
        loader: mmseg's ``LoadAnnotations`` or our ``LoadLabelMap``. Others are only
            run, because they may read something else than ``seg_map_path``.
        sample: What ``dataset.get_data_info`` gives.

    Raises:
        DatasetError: If the file cannot be read or is damaged, has more pixels than the loader
            decodes or a side of one pixel, or holds values that the loader would change.
    """
    path = sample.get('seg_map_path')
    may_be_missing = isinstance(loader, LoadLabelMap) and (path is None or loader.allow_missing)
    if may_be_missing or type(loader) not in (LoadAnnotations, LoadLabelMap):
        return CheckedFile(read_with(loader, sample, 'label map'), [])
    header = read_picture(loader, path, 'label map')
    lossy = header is not None and header.format in ('JPEG', 'MPO')
    if isinstance(loader, LoadLabelMap):  # which keeps all values, or says why it does not
        return CheckedFile(read_with(loader, sample), ['lossy labels'] * lossy)
    if header is not None and min(header.width, header.height) == 1:
        raise DatasetError(
            f'label map {str(path)!r}: expected at least 2 pixels on each side, found '
            f'{header.height} x {header.width} (height x width), of which mmseg drops the side of '
            'one pixel. Leave the image out, or pad both'
        )
    if header is None or loader.imdecode_backend != 'pillow' or header.mode not in ('1', 'L', 'P'):
        _check_bytes(loader, path)
    elif header.mode == 'L' and header.raw_mode != 'L':
        raise DatasetError(
            f'label map {str(path)!r}: expected one byte for each pixel, found grey of fewer bits '
            f'({header.raw_mode!r}), which Pillow stretches to 0 ... 255, so that ids change. '
            'Save it with 8 bits, or with a palette'
        )
    return CheckedFile(read_with(loader, sample), ['lossy labels'] * lossy)


def _check_bytes(loader: LoadAnnotations, path: Optional[str]) -> None:
    """Refuse values that do not fit a byte; those of files of one byte need not be looked at."""
    content = fileio.get(path, backend_args=loader.backend_args)
    try:
        values = mmcv.imfrombytes(content, flag='unchanged', backend=loader.imdecode_backend)
    except Exception:  # the loader reports it
        return
    if values is None or values.ndim != 2:
        return
    with np.errstate(invalid='ignore'):  # NaN has no integer
        as_bytes = values.astype(np.uint8)
    wrong = as_bytes != values
    if wrong.any():
        found, where = np.unique(values[wrong], return_index=True)
        raise DatasetError(
            f'label map {str(path)!r}: expected whole numbers from 0 to 255, found '
            f'{found[:10].tolist()} ({values.dtype}) in {int(wrong.sum())} pixels, of which mmseg '
            f'would make {as_bytes[wrong][where[:10]].tolist()}. Save ids of one byte; for more '
            "than 255 classes, load label maps with dict(type='LoadLabelMap', ignore_index=65535)"
        )
