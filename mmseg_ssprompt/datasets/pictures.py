"""What a picture file says of itself, and whether it is whole, without decoding it."""

import contextlib
import io
import warnings
from typing import Any, NamedTuple, Optional

from mmengine import fileio
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from .checks import DatasetError, UnreadableFileError, read_error

__all__ = ['PictureHeader', 'find_damage', 'read_header', 'read_picture']

#: Side and pixels up to which OpenCV decodes; Pillow's limit is a setting of its own.
MAX_SIDE = dict(cv2=2**20)
MAX_PIXELS = dict(cv2=2**30)

_ORIENTATION = 0x0112  # EXIF's tag, and TIFF's own
_END_OF_JPEG = b'\xff\xd9'


class PictureHeader(NamedTuple):
    """What a file says before its pixels.

    Attributes:
        format: Pillow's name of the format, such as ``'JPEG'``.
        mode: Pillow's name of the channels, such as ``'RGB'``, ``'P'`` or ``'I;16'``.
        raw_mode: Pillow's name of how they lie in the file, such as ``'RGB;16B'``.
        width: In the file, before any rotation.
        height: Likewise.
        orientation: EXIF's, from 1 (upright) to 8.
    """

    format: str
    mode: str
    raw_mode: str
    width: int
    height: int
    orientation: int

    @property
    def has_16_bits(self) -> bool:
        """Whether a channel has 16 bits."""
        return '16' in self.mode or '16' in self.raw_mode

    @property
    def has_alpha(self) -> bool:
        """Whether there is a channel of opacity."""
        return self.mode in ('LA', 'PA', 'RGBA')


def read_picture(loader: Any, path: Optional[str], kind: str) -> Optional[PictureHeader]:
    """Read the header of the file that a loader will decode, and refuse a damaged one.

    Args:
        loader: A ``LoadImageFromFile`` or ``LoadAnnotations``.
        path: Of the file.
        kind: What the file is, for the error: 'image' or 'label map'.

    Returns:
        The header, or None if Pillow does not know the format; the loader may.

    Raises:
        DatasetError: If the file cannot be read, is cut off or damaged, or has more pixels than
            the loader decodes.
    """
    try:
        content = fileio.get(path, backend_args=loader.backend_args)
    except Exception as error:  # storage backends raise almost any type
        raise read_error(loader, path, kind, error) from error
    header = read_header(content)
    if header is None:
        return None
    _check_limits(header, loader.imdecode_backend, path, kind)
    damage = find_damage(content)
    if damage is not None:
        raise UnreadableFileError(
            f'{kind} {str(path)!r}: expected a whole {header.format} file, found {len(content)} '
            f'bytes that are cut off or damaged ({damage}). Copy or download it again'
        )
    return header


def _check_limits(header: PictureHeader, backend: str, path: Optional[str], kind: str) -> None:
    side, pixels = max(header.width, header.height), header.width * header.height
    max_side, max_pixels = MAX_SIDE.get(backend, side), MAX_PIXELS.get(backend, pixels)
    if backend == 'pillow' and Image.MAX_IMAGE_PIXELS is not None:
        max_pixels = 2 * Image.MAX_IMAGE_PIXELS  # up to half of it Pillow does not even warn
    if side > max_side or pixels > max_pixels:
        sides = f' and at most {max_side} on a side' if backend in MAX_SIDE else ''
        raise DatasetError(
            f'{kind} {str(path)!r}: expected at most {max_pixels} pixels{sides}, which is what '
            f'{backend!r} decodes, found {header.width} x {header.height} = {pixels}. Cut it into '
            'tiles'
        )


def read_header(content: bytes) -> Optional[PictureHeader]:
    """The header of a picture file, or None if Pillow cannot tell what it is."""
    image = _open(content)
    if image is None:
        return None
    # A tile is (codec, box, offset, arguments), of which the raw mode is the only one or the first.
    arguments = image.tile[0][3] if image.tile else ''
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return PictureHeader(
        format=str(image.format),
        mode=image.mode,
        raw_mode=str(raw_mode or image.mode),
        width=image.width,
        height=image.height,
        orientation=_orientation(image),
    )


def find_damage(content: bytes) -> Optional[str]:
    """What is wrong with a picture file, or None; the pixels of JPEG and PNG are not decoded.

    OpenCV before version 5 decodes a JPEG that is cut off without a word, with grey below. In a
    JPEG's pixel data no 0xFF is followed by 0xD9, so the marker can only be the end. A PNG has
    checksums. Files of other formats, which are rare, are decoded.

    Args:
        content: The whole file.
    """
    image = _open(content)
    if image is None:
        return None
    try:
        if image.format in ('JPEG', 'MPO') and image.fp is not None:
            # Pillow has read up to the pixel data, so an embedded preview lies before.
            whole = content.find(_END_OF_JPEG, image.fp.tell()) >= 0
            return None if whole else 'the end marker is missing'
        if image.format == 'PNG':
            image.verify()
        else:
            image.load()
    except Exception as error:  # decoders raise almost any type
        return f'{type(error).__name__}: {error}'
    return None


def _open(content: bytes) -> Optional[ImageFile]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content))
    except Image.DecompressionBombError:  # which Image.open raises before the header can be asked
        return _open_large(content)
    except (OSError, SyntaxError, ValueError):
        return None


def _open_large(content: bytes) -> Optional[ImageFile]:
    """Open a picture that has more pixels than Pillow decodes; OpenCV may decode it."""
    for kind in (PngImageFile, JpegImageFile, TiffImageFile):
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            return kind(io.BytesIO(content))
    return None


def _orientation(image: Image.Image) -> int:
    exif = Image.Exif()
    try:
        exif.load(image.info.get('exif', b''))
    except Exception:  # it is damaged: OpenCV too takes the image as it is
        return 1
    tag = exif.get(_ORIENTATION, getattr(image, 'tag_v2', {}).get(_ORIENTATION))
    return tag if tag in range(1, 9) else 1
