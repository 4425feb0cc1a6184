"""TIFF files that are read by windows, and label maps that keep the place of their picture."""

import contextlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Optional, Tuple

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..datasets.checks import DatasetError, UnreadableFileError
from ..files import replacing
from .tiles import Part

__all__ = [
    'TIFF_SUFFIXES',
    'RasterPicture',
    'TiffFacts',
    'can_read_windows',
    'read_geotiff_labels',
    'read_tiff_facts',
    'write_geotiff_labels',
]

TIFF_SUFFIXES = ('.tif', '.tiff')
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
#: ModelPixelScale, ModelTiepoint, ModelTransformation and GeoKeyDirectory.
_GEO_TAGS = (33550, 33922, 34264, 34735)
_COLOURS = ('red', 'green', 'blue')


class TiffFacts(NamedTuple):
    """What the header of a TIFF file says."""

    is_georeferenced: bool
    size: Tuple[int, int]  # (H, W)
    is_upright: bool


def can_read_windows() -> bool:
    """Whether rasterio is installed."""
    return importlib.util.find_spec('rasterio') is not None


def read_tiff_facts(file: Path) -> Optional[TiffFacts]:
    """What the header of a file says; None if it is no TIFF, or a damaged one."""
    with contextlib.suppress(Exception), warnings.catch_warnings():  # Pillow raises almost any type
        warnings.simplefilter('ignore')  # of a file that is cut off
        with file.open('rb') as stream:
            # Pillow opens no TIFF of very many pixels, but reads its header.
            head = stream.read(8)
            head += stream.read(8) if head[2:3] == b'\x2b' or head[3:4] == b'\x2b' else b''
            tags = ImageFileDirectory_v2(head)
            stream.seek(tags.next)
            tags.load(stream)
        size = int(tags[_HEIGHT]), int(tags[_WIDTH])
        is_placed = any(tag in tags for tag in _GEO_TAGS)
        return TiffFacts(is_placed, size, tags.get(_ORIENTATION, 1) == 1)
    return None


class RasterPicture:
    """A TIFF file of which parts are read. It is closed with the last reference to this.

    Args:
        file: Its path.

    Attributes:
        size: (H, W).

    Raises:
        UnreadableFileError: If it cannot be read.
        DatasetError: If its values have neither 8 nor 16 bits.
    """

    def __init__(self, file: Path) -> None:
        import rasterio

        with _naming(file), _without_warnings():
            raster = rasterio.open(file)
        self._raster, self._file = raster, file
        self.size: Tuple[int, int] = (raster.height, raster.width)
        kinds = set(raster.dtypes)
        if not kinds <= {'uint8', 'uint16'} or len(kinds) > 1:
            raise DatasetError(
                f'image {str(file)!r}: expected grey or colours of 8 or 16 bits, found bands of '
                f'{", ".join(sorted(kinds))}. Convert it to 8 bits'
            )
        names = [colour.name for colour in raster.colorinterp]
        self._table = raster.colormap(1) if names[0] == 'palette' else None
        if all(name in names for name in _COLOURS):
            self._bands = [names.index(name) + 1 for name in _COLOURS]
        else:
            self._bands = [1, 2, 3] if raster.count >= 3 else [1, 1, 1]

    def read(self, part: Part) -> np.ndarray:
        """A part of it, (h, w, 3) uint8, blue first as OpenCV has it; 16 bits become 8."""
        return self._colours(self._read(self._bands, part))[..., ::-1]

    def reduce(self, size: Tuple[int, int]) -> np.ndarray:
        """All of it at a smaller size, (h, w, 3) uint8, red first."""
        return self._colours(self._read(self._bands, None, size))

    def find_void(self, part: Part) -> np.ndarray:
        """Where a part has no data, (h, w) bool."""
        mask = self._raster.dataset_mask(window=_window(part))
        return np.asarray(mask == 0)

    def _read(
        self, bands: Any, part: Optional[Part], size: Optional[Tuple[int, int]] = None
    ) -> np.ndarray:
        options = {} if part is None else dict(window=_window(part))
        if size is not None:
            options['out_shape'] = (len(bands), *size)
        with _naming(self._file):
            return np.asarray(self._raster.read(bands, **options))

    def _colours(self, bands: np.ndarray) -> np.ndarray:
        """Bands (3, h, w) as colours (h, w, 3) uint8."""
        if self._table is not None:
            table = np.zeros((256, 3), np.uint8)
            for number, colour in self._table.items():
                table[number] = colour[:3]
            return np.asarray(table[bands[0]])
        if bands.dtype == np.uint16:
            bands = (bands >> 8).astype(np.uint8)  # as OpenCV does
        return np.asarray(bands.transpose(1, 2, 0))


def _window(part: Part) -> Any:
    from rasterio.windows import Window

    return Window(part.left, part.top, part.width, part.height)


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Name the file in rasterio's errors."""
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        raise UnreadableFileError(
            f'image {str(file)!r}: expected a whole TIFF file, found one that cannot be read '
            f'({error}). Copy or download it again'
        ) from error


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Open files that have no place, of which rasterio warns."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        yield


def write_geotiff_labels(
    labels: np.ndarray, file: Path, source: Path, void_id: int, colours: Any
) -> None:
    """Write a label map as GeoTIFF, with the coordinate system and the place of its picture.

    Args:
        labels: (H, W) uint8 or uint16.
        file: What is written, as a whole or not at all; its folder exists.
        source: The picture.
        void_id: The number of pixels without label, which is written as "no data".
        colours: (R, G, B) by number; files of 8 bits have them.
    """
    import rasterio

    with _without_warnings(), rasterio.open(source) as raster:
        place = dict(crs=raster.crs, transform=raster.transform)
        points, points_crs = raster.gcps
        tags = raster.tags(ns='RPC')
    options = dict(
        driver='GTiff', height=labels.shape[0], width=labels.shape[1], count=1,
        dtype=labels.dtype.name, nodata=void_id, compress='deflate', tiled=True,
        blockxsize=256, blockysize=256, bigtiff='if_safer',
    )  # fmt: skip
    if points:
        place = dict(crs=points_crs, gcps=points)
    with replacing(file) as temporary:
        with _without_warnings(), rasterio.open(temporary, 'w', **options, **place) as target:
            target.write(labels, 1)
            if labels.dtype == np.uint8:
                table = {number: tuple(colour) for number, colour in enumerate(colours)}
                target.write_colormap(1, table)
            if tags:
                target.update_tags(ns='RPC', **tags)


def read_geotiff_labels(file: Path) -> np.ndarray:
    """The label map in a file of :func:`write_geotiff_labels`, (H, W)."""
    import rasterio

    with _without_warnings(), rasterio.open(file) as raster:
        return np.asarray(raster.read(1))
