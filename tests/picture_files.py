"""Picture files of every kind, whole and damaged, and data sets of them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Sequence

import cv2
import numpy as np
from mmseg.registry import DATASETS
from PIL import Image

CLASSES = ('cat', 'dog', 'sky')
SIZE = (12, 16)  # height, width
LABELS = (np.arange(192).reshape(SIZE) % 3).astype(np.uint8)
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def smooth_colours() -> np.ndarray:
    """(H, W, 3) uint8, RGB, such that JPEG changes it little."""
    small = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def encode(picture: Any, file_format: str, mode: str = '', **options: Any) -> bytes:
    """The file of an array, or of an image of Pillow, after conversion to a mode of Pillow."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    content = io.BytesIO()
    (image.convert(mode) if mode else image).save(content, file_format, **options)
    return content.getvalue()


def with_orientation(tag: int, file_format: str = 'JPEG', **options: Any) -> bytes:
    """A file that asks to be turned before it is shown."""
    exif = Image.Exif()
    exif[0x0112] = tag
    return encode(smooth_colours(), file_format, exif=exif, **options)


def make_png(header: Sequence[int], rows: bytes = b'') -> bytes:
    """A PNG of this width, height, bit depth and colour type; rows begin with their filter."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        )

    return b''.join(
        (
            b'\x89PNG\r\n\x1a\n',
            chunk(b'IHDR', struct.pack('>IIBBBBB', *header, 0, 0, 0)),
            chunk(b'IDAT', zlib.compress(rows)),
            chunk(b'IEND', b''),
        )
    )


def write_pairs(root: Path, *pairs: Sequence[bytes]) -> Path:
    """Images ``img/00.png``, ... and label maps ``ann/00.png``, ..., whatever their format is."""
    for folder, contents in zip(('img', 'ann'), zip(*pairs)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index, content in enumerate(contents):
            (root / folder / f'{index:02d}.png').write_bytes(content)
    return root


def dataset_config(root: Path, classes: Sequence[str] = CLASSES, **options: Any) -> dict:
    """A data set of images ``img/*.png`` and label maps ``ann/*.png``."""
    defaults = dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        img_suffix='.png',
        metainfo=dict(classes=classes),
        pipeline=LOAD,
        serialize_data=False,  # which takes half a second
    )
    return dict(defaults, **options)


def build_dataset(root: Path, **options: Any) -> Any:
    return DATASETS.build(dataset_config(root, **options))
