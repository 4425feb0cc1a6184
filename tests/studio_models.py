"""Models for the studio, built once, and pictures for them."""

import base64
import functools
import io
import struct
import zlib
from pathlib import Path
from typing import Optional

import numpy as np
from PIL import Image

from mmseg_ssprompt.config_files import find_config
from mmseg_ssprompt.miniature.shapes_world import get_world, render_scene, scene_seed
from mmseg_ssprompt.prediction.predictor import read_model
from mmseg_ssprompt.studio import StudioModel
from mmseg_ssprompt.weights.state_dicts import resolve_checkpoint_path

DEMO_CONFIG = find_config('ssprompt_sam-tiny_shapes')
DEMO_PROMPTS = resolve_checkpoint_path('mmseg_ssprompt://prompts-tiny_shapes.safetensors')


@functools.cache
def demo_studio() -> StudioModel:
    """sam-tiny with the prompts of the demo."""
    return StudioModel(read_model(DEMO_CONFIG, DEMO_PROMPTS), 'cpu')


@functools.cache
def studio_of(config: str, prompts: Optional[Path] = None) -> StudioModel:
    """A model of the package."""
    return StudioModel(read_model(find_config(config), prompts), 'cpu')


def draw_photograph(height: int = 80, width: int = 120) -> np.ndarray:
    """A scene of the embedded data, cut to a size that is not square: (H, W, 3), red first."""
    image = render_scene(get_world('downstream'), scene_seed('val', 3)).image
    return np.asarray(Image.fromarray(image).resize((width, height)))


def save_photograph(file: Path, height: int = 80, width: int = 120) -> Path:
    Image.fromarray(draw_photograph(height, width)).save(file)
    return file


def make_png(width: int, height: int) -> bytes:
    """A PNG file that says it has a size, with next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack('>I', len(data)) + body + struct.pack('>I', zlib.crc32(body))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    parts = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 64)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + parts


def decode_uri(uri: str) -> np.ndarray:
    """The pixels of a data URI."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(',')[2]))))
