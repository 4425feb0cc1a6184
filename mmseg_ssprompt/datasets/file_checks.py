"""Whether image files become the pictures that they show, and label maps the ids in them."""

import io
import warnings
from typing import Any, Dict, Optional, Tuple

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image
from PIL.ImageFile import ImageFile

from .checks import DatasetError, UnreadableFileError, read_error, read_with
from .label_maps import LoadLabelMap
from .segment_maps import PICTURES

__all__ = [
    'check_image',
    'check_labels',
    'check_segments',
    'find_damage',
    'find_orientation',
    'open_picture',
]

#: Pillow's modes that the default loader, OpenCV, turns into the same 8-bit colours; 16 bits too.
_CONVERTED = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'CMYK', 'YCbCr')
_DARK = 15
_ORIENTATION = 0x0112  # EXIF's tag, and TIFF's own


def check_image(loader: Any, sample: Dict[str, Any]) -> Tuple[Dict[str, Any], int, bool]:
    """Read an image with its loader, and refuse one that the model would see otherwise.

    The files of other loaders than ``LoadImageFromFile`` are not looked at, because they may read
    something else than ``img_path``.

    Returns:
        The sample, the EXIF orientation that the loader has applied (1 is upright), and whether
        the image is nearly black, as 8 or 12 bits in a file of 16 are.

    Raises:
        DatasetError: If the file cannot be read or is damaged, is of a kind whose values the
            loader does not keep, or does not become an array (H, W, 3).
    """
    path, picture = sample.get('img_path'), None
    if type(loader) is LoadImageFromFile:
        picture = _read_picture(loader, path, 'image')
    if picture is not None:
        _check_mode(picture, loader.imdecode_backend, path)
    sample = read_with(loader, sample, 'image')
    image: Any = sample.get('img')
    if image is None:  # of a transform of somebody's own that loads something else
        return sample, 1, False
    shape: Any = getattr(image, 'shape', ())
    colour = getattr(loader, 'color_type', 'color')
    if len(shape) != 3 or shape[-1] != 3:
        advice = 'let it return an array (H, W, 3)'
        if colour != 'color':
            advice = f'leave out color_type={colour!r}, which is then "color"'
        raise DatasetError(
            f'image {str(path)!r}: expected 3 channels, got the shape {shape} from '
            f'{type(loader).__name__}: {advice}'
        )
    turns = picture is not None and colour in ('color', 'grayscale')
    turns = turns and loader.imdecode_backend in ('cv2', 'pillow')
    # A few bright pixels do not change this, and some pixels tell most images.
    is_dark = image.dtype == np.uint8 and np.percentile(image[::8, ::8], 99) <= _DARK
    return sample, find_orientation(picture) if turns else 1, bool(is_dark)


def _read_picture(loader: Any, path: Optional[str], kind: str) -> Optional[ImageFile]:
    """The header of the file that a loader will decode; a damaged file is refused.

    None if Pillow does not know the format, or opens no picture of so many pixels; the loader may.
    """
    try:
        content = fileio.get(path, backend_args=loader.backend_args)
    except Exception as error:  # storage backends raise almost any type
        raise read_error(loader, path, kind, error) from error
    picture, damage = open_picture(content), find_damage(content)
    if picture is not None and damage is not None:
        raise UnreadableFileError(
            f'{kind} {str(path)!r}: expected a whole {picture.format} file, found {len(content)} '
            f'bytes that are cut off or damaged ({damage}). Copy or download it again'
        )
    return picture


def open_picture(content: bytes) -> Optional[ImageFile]:
    """The header of a picture file, or None if Pillow does not open it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def find_damage(content: bytes) -> Optional[str]:
    """What is wrong with a picture file, or None; the pixels of JPEG and PNG are not decoded.

    OpenCV before version 5 decodes a JPEG that is cut off without a word, with grey below. In a
    JPEG's pixel data no 0xFF is followed by 0xD9, so the marker can only be the end. A PNG has
    checksums. Files of other formats, which are rare, are decoded.
    """
    picture = open_picture(content)
    if picture is None:
        return None
    try:
        if picture.format in ('JPEG', 'MPO') and picture.fp is not None:
            # Pillow has read up to the pixel data, so an embedded preview lies before.
            whole = content.find(b'\xff\xd9', picture.fp.tell()) >= 0
            return None if whole else 'the end marker is missing'
        if picture.format == 'PNG':
            picture.verify()
        else:
            picture.load()
    except Exception as error:  # decoders raise almost any type
        return f'{type(error).__name__}: {error}'
    return None


def _raw_mode(picture: ImageFile) -> str:
    """Pillow's name of how channels lie in the file, such as ``'RGB;16B'``."""
    # A tile is (codec, box, offset, arguments); the raw mode is the only argument or the first.
    arguments = picture.tile[0][3] if picture.tile else ''
    return str((arguments[:1] or ('',))[0] if isinstance(arguments, tuple) else arguments)


def find_orientation(picture: Any) -> int:
    """EXIF's orientation of a picture that was opened, from 1 (upright) to 8."""
    exif = Image.Exif()
    try:
        exif.load(picture.info.get('exif', b''))
    except Exception:  # it is damaged: OpenCV too takes the image as it is
        return 1
    tag = exif.get(_ORIENTATION, getattr(picture, 'tag_v2', {}).get(_ORIENTATION))
    return tag if tag in range(1, 9) else 1


def _check_mode(picture: ImageFile, backend: str, path: Optional[str]) -> None:
    is_grey_16 = '16' in picture.mode or '16' in _raw_mode(picture)
    if picture.mode not in _CONVERTED and not (is_grey_16 and backend == 'cv2'):
        raise DatasetError(
            f'image {str(path)!r}: expected grey or colours of 8 or 16 bits, found '
            f'{picture.format} with {picture.mode!r} pixels, whose values {backend!r} does not '
            'keep. Convert it to 8-bit RGB'
        )


def check_labels(loader: Any, sample: Dict[str, Any]) -> Tuple[Dict[str, Any], bool]:
    """Read a label map with its loader, and refuse one whose ids would change on the way.

    mmseg's loader makes bytes of all values, so that 256 becomes 0. Other loaders than it and
    ``LoadLabelMap`` are only run, because they may read something else than ``seg_map_path``.

    Returns:
        The sample, and whether its label map is a JPEG.

    Raises:
        DatasetError: If the file cannot be read or is damaged, or holds values that the loader
            would change.
    """
    path = sample.get('seg_map_path')
    may_be_missing = isinstance(loader, LoadLabelMap) and (path is None or loader.allow_missing)
    if may_be_missing or type(loader) not in (LoadAnnotations, LoadLabelMap):
        return read_with(loader, sample, 'label map'), False
    picture = _read_picture(loader, path, 'label map')
    backend = loader.imdecode_backend
    raw_mode = '' if picture is None else _raw_mode(picture)
    if picture is None or backend != 'pillow' or picture.mode not in ('1', 'L', 'P'):
        # LoadLabelMap keeps all values, or says why it does not.
        reference = LoadLabelMap(backend_args=loader.backend_args, imdecode_backend=backend)
        if not isinstance(loader, LoadLabelMap):
            read_with(reference, dict(seg_map_path=path))
    elif raw_mode.startswith('L;'):
        raise DatasetError(
            f'label map {str(path)!r}: expected one byte for each pixel, found grey of fewer bits '
            f'({raw_mode!r}), which Pillow stretches to 0 ... 255, so that ids change. Save it '
            'with 8 bits, or with a palette'
        )
    is_lossy = picture is not None and picture.format in ('JPEG', 'MPO')
    return read_with(loader, sample), is_lossy


def check_segments(loader: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
    """Read the segments of a sample with their loader.

    Raises:
        DatasetError: If a picture of segments cannot be read or is damaged, or does not fit what is
            said of the segments.
    """
    segments = sample.get('segments')
    if segments is not None and segments['kind'] in PICTURES:
        _read_picture(loader, segments['path'], 'segment map')
    return read_with(loader, sample, 'segment map')
