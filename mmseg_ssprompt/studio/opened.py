"""Pictures that are open: read with care, embedded once, and kept within a bound of memory."""

import struct
import threading
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, TypeVar

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch import Tensor

from ..datasets.checks import DatasetError
from ..files import sha256_of
from ..models.base import Decoded, ImageFeatures
from ..prediction.predictor import Predictor
from ..prediction.tiles import Part
from .answers import MaskFacts
from .encoding import as_jpeg
from .look import StudioError

__all__ = [
    'MAX_BYTES',
    'MAX_PIXELS',
    'OpenPicture',
    'PictureStore',
    'embed_picture',
    'open_picture',
]

#: What an upload may have: bytes of the file, and pixels. At its full size a label map takes some
#: 40 bytes a pixel while it is made.
MAX_BYTES, MAX_PIXELS = 64_000_000, 40_000_000
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF')
#: The longest side of what is shown, in pixels; smaller pictures are enlarged to the first.
_SHOWN = (480, 768)
#: Of how many prompts what is decoded of a picture is kept.
_KEPT = 3

T = TypeVar('T')


class OpenPicture:
    """A picture that was embedded.

    Args:
        key: Tells it from others.
        name: For people.
        pixels: (H, W, 3) uint8, blue first.
        features: What the image encoder sees.
        metainfo: Of its data sample: size, padding.

    Attributes:
        key, name, features, metainfo: As given.
        size: (H, W) of the picture.
        shown: (h, w, 3) uint8, red first: the picture at the size at which it is shown.
        photo: The same as a data URI.
    """

    def __init__(
        self,
        key: str,
        name: str,
        pixels: np.ndarray,
        features: ImageFeatures,
        metainfo: Dict[str, Any],
    ) -> None:
        self.key, self.name, self.features, self.metainfo = key, name, features, metainfo
        self.size = pixels.shape[0], pixels.shape[1]
        self.shown = _resize(pixels, _shown_size(self.size))[..., ::-1].copy()
        self.photo = as_jpeg(self.shown)
        self._decoded: OrderedDict[Any, Decoded] = OrderedDict()
        self._logits: OrderedDict[Any, Tensor] = OrderedDict()
        self._facts: OrderedDict[Any, List[MaskFacts]] = OrderedDict()

    @property
    def shown_size(self) -> Tuple[int, int]:
        """(h, w) of what is shown."""
        return self.shown.shape[0], self.shown.shape[1]

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        tensors = [*self.features.named().values(), *self._logits.values()]
        for decoded in self._decoded.values():
            tensors += [each for each in decoded if each is not None]
        return int(self.shown.nbytes) + len(self.photo) + sum(_bytes_of(each) for each in tensors)

    def decoded(self, key: Any, decode: Callable[[], Decoded]) -> Decoded:
        """What is decoded with some prompts; the last few are kept.

        Args:
            key: Tells the prompts from others.
            decode: Is called where it is not kept.
        """
        return _find_or_make(self._decoded, key, decode)

    def class_logits(self, key: Any, classify: Callable[[], Tensor]) -> Tensor:
        """The same for class logits."""
        return _find_or_make(self._logits, key, classify)

    def facts(self, key: Any, find: Callable[[], List[MaskFacts]]) -> List[MaskFacts]:
        """The same for what is known of the masks."""
        return _find_or_make(self._facts, key, find)


def _find_or_make(kept: 'OrderedDict[Any, T]', key: Any, make: Callable[[], T]) -> T:
    if key not in kept:
        kept[key] = make()
        while len(kept) > _KEPT:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]


def _bytes_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _shown_size(size: Tuple[int, int]) -> Tuple[int, int]:
    longest = max(size)
    factor = min(max(longest, _SHOWN[0]), _SHOWN[1]) / longest
    return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)


def _resize(pixels: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    grows = size[0] > pixels.shape[0]
    how = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=how))


class PictureStore:
    """The pictures that are open, of all tabs; the least used go when there is no more room.

    Args:
        max_bytes: What all of them may take; the newest one stays whatever it takes. Defaults to
            half a gigabyte.
    """

    def __init__(self, max_bytes: int = 500_000_000) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, OpenPicture] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._kept))

    @property
    def bytes(self) -> int:
        """What all of them take."""
        return sum(each.bytes for each in list(self._kept.values()))

    def find(self, key: str) -> Optional[OpenPicture]:
        """A picture, if it is still kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, picture: OpenPicture) -> None:
        """Keep a picture, as the one that was used last."""
        with self._lock:
            self._kept[picture.key] = picture
            self._kept.move_to_end(picture.key)
        self.trim()

    def drop(self, key: str) -> None:
        """Keep a picture no longer."""
        with self._lock:
            self._kept.pop(key, None)

    def trim(self) -> None:
        """Let the least used go, until there is room."""
        with self._lock:
            total = sum(each.bytes for each in self._kept.values())
            while total > self._max_bytes and len(self._kept) > 1:
                total -= self._kept.popitem(last=False)[1].bytes


def read_picture(file: Path, name: str, predictor: Predictor) -> np.ndarray:
    """Read the pixels of a picture of a stranger.

    Args:
        file: Where it lies.
        name: What it is called for people.
        predictor: Reads it, as in tests.

    Returns:
        (H, W, 3) uint8, blue first.

    Raises:
        StudioError: If it is too large, which its size and its header tell before it is decoded,
            or is no picture, or damaged.
    """
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise StudioError(
            f'{name} has {size / 1e6:.0f} megabytes: pictures may have at most '
            f'{MAX_BYTES / 1e6:.0f}.'
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as picture:
                pixels = picture.width * picture.height
    except Image.DecompressionBombError:  # more than Pillow itself opens
        pixels = 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise StudioError(
            f'{name} cannot be read: it is no picture of a kind that is known '
            f'({", ".join(FORMATS)}), or it is damaged.'
        ) from error
    if pixels > MAX_PIXELS:
        raise StudioError(
            f'{name} has {pixels / 1e6:.0f} megapixels or more: pictures may have at most '
            f'{MAX_PIXELS / 1e6:.0f}.'
        )
    try:
        loaded = predictor.load(file)
    except (DatasetError, OSError, MemoryError, cv2.error) as error:
        # The place where the upload lies says nothing to people.
        text = str(error).replace(repr(str(file)), name).replace(str(file), name)
        raise StudioError(f'{text}.') from error
    return loaded.read(Part(0, 0, *loaded.size))


def open_picture(file: Path, name: str, predictor: Predictor) -> OpenPicture:
    """Read a picture of a stranger and embed it.

    Args:
        file: Where it lies.
        name: What it is called for people.
        predictor: The model.

    Raises:
        StudioError: As :func:`read_picture` and :func:`embed_picture`.
    """
    return embed_picture(read_picture(file, name, predictor), sha256_of(file), name, predictor)


@torch.no_grad()
def embed_picture(pixels: np.ndarray, key: str, name: str, predictor: Predictor) -> OpenPicture:
    """Run the image encoder over a picture.

    Args:
        pixels: (H, W, 3) uint8, blue first.
        key: Tells it from others.
        name: What it is called for people.
        predictor: The model.

    Raises:
        StudioError: If it does not pass the pipeline of the model, such as a picture of very
            unequal sides, or memory does not suffice.
    """
    model = predictor.model
    try:
        batch = model.data_preprocessor(pseudo_collate([predictor.prepare(pixels, name)]), False)
        features = model.extract_feat(batch['inputs'])
    except (ValueError, RuntimeError, MemoryError) as error:
        raise StudioError(f'{name} does not pass the model: {error}.') from error
    (sample,) = batch['data_samples']
    return OpenPicture(key, name, pixels, features, dict(sample.metainfo))
