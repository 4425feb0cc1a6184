"""The brushes of ShapesWorld: outlines of shapes and patterns of textures, in plain numpy."""

from typing import Callable, Dict, Tuple

import cv2
import numpy as np
from numpy.random import Generator

__all__ = ['SHAPES', 'TEXTURES', 'draw_shape', 'hsv_to_rgb', 'smooth_noise']

#: Shapes are drawn this many times larger and averaged down, so that their edges are smooth.
SUPERSAMPLING = 4


def draw_shape(
    shape: str, size: int, centre: Tuple[float, float], radius: float, angle: float
) -> np.ndarray:
    """How much of each pixel a shape covers.

    Args:
        shape: A key of :data:`SHAPES`.
        size: Side of the square canvas, in pixels.
        centre: Centre (x, y), in pixels.
        radius: Half of the shape's extent, in pixels.
        angle: Rotation, in radians.

    Returns:
        (size, size) float32 between 0 and 1.
    """
    canvas = np.zeros((size * SUPERSAMPLING, size * SUPERSAMPLING), np.uint8)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, sin], [-sin, cos]])
    for value, outline in enumerate(SHAPES[shape]()):
        points = (outline @ rotation * radius + centre) * SUPERSAMPLING
        # The second outline of a shape, if any, is what is cut out of the first.
        cv2.fillPoly(canvas, [points.round().astype(np.int32)], 255 * (1 - value))
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255


def hsv_to_rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """A colour as (3,) float32 RGB between 0 and 1; all arguments between 0 and 1."""
    sectors = (np.array([5.0, 3.0, 1.0]) + hue % 1.0 * 6) % 6
    ramps = np.clip(np.minimum(sectors, 4 - sectors), 0, 1)
    return (value - value * saturation * ramps).astype(np.float32)


def smooth_noise(rng: Generator, size: int, sigma_x: float, sigma_y: float) -> np.ndarray:
    """Blurred noise of zero mean and unit deviation: (size, size) float32."""
    noise = rng.standard_normal((size, size)).astype(np.float32)
    blurred: np.ndarray = cv2.GaussianBlur(noise, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)
    scaled: np.ndarray = (blurred - blurred.mean()) / (blurred.std() + 1e-6)
    return scaled


def _polygon(*points: Tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float64)


def _round(num_points: int = 40, radius: float = 1.0, x: float = 0.0) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    return np.stack([radius * np.cos(angles) + x, radius * np.sin(angles)], axis=1)


def _star() -> np.ndarray:
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radii = np.where(np.arange(10) % 2, 0.42, 1.05)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 16


def _cross(arm: float = 0.36) -> np.ndarray:
    a = arm
    return _polygon(
        *((-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a)),
        *((a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)),
    )


#: Outlines in units of the radius, y downwards: the first is filled, a second is cut out of it.
SHAPES: Dict[str, Callable[[], Tuple[np.ndarray, ...]]] = dict(
    circle=lambda: (_round(),),
    square=lambda: (_polygon((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),),
    triangle=lambda: (_polygon((0, -1), (1, 0.85), (-1, 0.85)),),
    star=lambda: (_star(),),
    cross=lambda: (_cross(),),
    ring=lambda: (_round(), _round(radius=0.55)),
    crescent=lambda: (_round(), _round(radius=0.85, x=0.5)),
    heart=lambda: (_heart(),),
    arrow=lambda: (
        _polygon(
            *((1, 0), (0.1, -0.85), (0.1, -0.32), (-1, -0.32)),
            *((-1, 0.32), (0.1, 0.32), (0.1, 0.85)),
        ),
    ),
    kite=lambda: (_polygon((0, -1), (0.65, -0.3), (0, 1), (-0.65, -0.3)),),
    house=lambda: (
        _polygon(
            *((0, -1), (1, -0.15), (0.75, -0.15), (0.75, 1)),
            *((-0.75, 1), (-0.75, -0.15), (-1, -0.15)),
        ),
    ),
    boat=lambda: (
        _polygon(
            *((0.05, -1), (0.75, 0.3), (1, 0.3), (0.6, 0.9)),
            *((-0.6, 0.9), (-1, 0.3), (-0.55, 0.3)),
        ),
    ),
    tower=lambda: (_polygon((0, -1), (0.16, -0.75), (0.2, 1), (-0.2, 1), (-0.16, -0.75)),),
)


def _grid(size: int) -> Tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return y, x


def _plain(rng: Generator, size: int) -> np.ndarray:
    y, _ = _grid(size)
    return y / size * rng.uniform(0.5, 1.0)


def _waves(rng: Generator, size: int) -> np.ndarray:
    y, x = _grid(size)
    period, length = rng.uniform(7, 10), rng.uniform(18, 30)
    bend = rng.uniform(1.5, 2.5) * np.sin(2 * np.pi * (x / length + rng.uniform()))
    return 0.5 + 0.5 * np.sin(2 * np.pi * ((y + bend) / period + rng.uniform()))


def _strokes(rng: Generator, size: int) -> np.ndarray:
    return np.clip(0.5 + 0.35 * smooth_noise(rng, size, 0.7, 4.0), 0, 1)


def _grain(rng: Generator, size: int) -> np.ndarray:
    return np.clip(0.5 + 0.35 * smooth_noise(rng, size, 0.5, 0.5), 0, 1)


def _bricks(rng: Generator, size: int) -> np.ndarray:
    y, x = _grid(size)
    height, width = rng.uniform(7, 9), rng.uniform(14, 18)
    y, x = y + rng.uniform(0, height), x + rng.uniform(0, width)
    row = np.floor(y / height)
    x = x + row % 2 * width / 2
    return ((y % height < 1.8) | (x % width < 1.8)).astype(np.float32)


def _checks(rng: Generator, size: int) -> np.ndarray:
    y, x = _grid(size)
    side = rng.uniform(5, 7)
    y, x = y + rng.uniform(0, side), x + rng.uniform(0, side)
    squares: np.ndarray = np.floor(y / side) + np.floor(x / side)
    return np.asarray(squares % 2)


def _stripes(rng: Generator, size: int) -> np.ndarray:
    y, x = _grid(size)
    period = rng.uniform(7, 10) * rng.choice([-1, 1])
    waves = np.sin(2 * np.pi * ((x + y) / np.sqrt(2) / period + rng.uniform()))
    return np.asarray(np.clip(0.5 + waves, 0, 1))


def _dots(rng: Generator, size: int) -> np.ndarray:
    y, x = _grid(size)
    pitch = rng.uniform(8, 10)
    y, x = y + rng.uniform(0, pitch), x + rng.uniform(0, pitch)
    x = x + np.floor(y / pitch) % 2 * pitch / 2
    distance = np.hypot(y % pitch - pitch / 2, x % pitch - pitch / 2)
    return np.clip(pitch * 0.36 + 0.5 - distance, 0, 1)


def _blobs(rng: Generator, size: int) -> np.ndarray:
    return np.clip(0.5 + 1.2 * smooth_noise(rng, size, 2.2, 2.2), 0, 1)


#: Patterns between 0 (first colour) and 1 (second colour), (size, size) float32.
TEXTURES: Dict[str, Callable[[Generator, int], np.ndarray]] = dict(
    plain=_plain,
    waves=_waves,
    strokes=_strokes,
    grain=_grain,
    bricks=_bricks,
    checks=_checks,
    stripes=_stripes,
    dots=_dots,
    blobs=_blobs,
)
