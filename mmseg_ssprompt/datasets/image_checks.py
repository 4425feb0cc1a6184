"""Whether an image file becomes the picture that it shows."""

from typing import Any, Dict, List, NamedTuple, Optional

from mmcv.transforms import LoadImageFromFile

from .checks import DatasetError, read_with
from .pictures import PictureHeader, read_picture

__all__ = ['CheckedImage', 'check_image']

#: Pillow's modes that the default loader, OpenCV, turns into the same 8-bit colours; 16 bits too.
_CONVERTED = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'CMYK', 'YCbCr')
#: As 8-bit values: what 12 bits in a 16-bit file do not exceed.
_DARK = 15


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
        loader: A ``LoadImageFromFile``. Of other loaders derived from it only the result is
            checked, because they may read something else than ``img_path``.
        sample: What ``dataset.get_data_info`` gives.

    Raises:
        DatasetError: If the file cannot be read or is damaged, has more pixels than the loader
            decodes, or is of a kind whose values the loader does not keep.
    """
    path = sample.get('img_path')
    header = None
    if type(loader) is LoadImageFromFile:
        header = read_picture(loader, path, 'image')
    if header is not None:
        _check_mode(header, loader.imdecode_backend, path)
    sample = read_with(loader, sample)
    image = sample['img']
    if image.ndim != 3 or image.shape[2] != 3:
        raise DatasetError(
            f'image {str(path)!r}: expected 3 channels, got the shape {image.shape} from '
            f'{type(loader).__name__}: leave out color_type, which is then "color"'
        )
    if header is None:
        return CheckedImage(sample, [], 1)
    if header.has_16_bits and image.max() <= _DARK:
        raise DatasetError(
            f'image {str(path)!r}: expected 16-bit values from 0 to 65535, of which the upper 8 '
            f'bits are kept, found none above {256 * (int(image.max()) + 1) - 1}: it would be '
            'nearly black. Scale the values to 16 bits, or convert the image to 8 bits'
        )
    remarks = ['16 bits'] * header.has_16_bits + ['alpha'] * header.has_alpha
    return CheckedImage(sample, remarks, _applied_orientation(header, loader))


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
