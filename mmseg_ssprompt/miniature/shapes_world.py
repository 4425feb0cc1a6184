"""ShapesWorld: a seeded generator of small labelled scenes, the project's embedded data.

A scene is a few regions of texture ("stuff") with a few shapes ("things") upon them. The
``pretraining`` world is what sam-tiny grew up in; ``downstream`` worlds see the same brushes
through a domain shift, with classes and names that were not in pre-training.
"""

from typing import List, NamedTuple, Tuple

import cv2
import numpy as np
from numpy.random import Generator

from .shapes_drawing import TEXTURES, draw_shape, hsv_to_rgb, smooth_noise
from .shapes_tables import WORLDS, ShapesWorld, StuffClass, ThingClass, get_world

__all__ = [
    'WORLDS',
    'Scene',
    'ShapesWorld',
    'StuffClass',
    'ThingClass',
    'get_world',
    'render_scene',
    'scene_seed',
]

#: Each split draws its scenes from seeds of its own; scenes of a split are fewer than a block.
_SPLIT_BLOCKS = dict(test=0, val=1, train=2)
_SEEDS_PER_BLOCK = 1_000_000


def scene_seed(split: str, index: int, seed: int = 0) -> int:
    """The seed of a split's scene; no two splits and no two training sets share any.

    Args:
        split: 'train', 'val' or 'test'.
        index: Number of the scene within the split.
        seed: Which training set; validation and test scenes do not depend on it. Defaults to 0.

    Raises:
        ValueError: If the split is unknown, or a number is out of range.
    """
    if split not in _SPLIT_BLOCKS:
        raise ValueError(f'unknown split {split!r}: expected one of {sorted(_SPLIT_BLOCKS)}')
    if not 0 <= index < _SEEDS_PER_BLOCK or seed < 0:
        raise ValueError(f'expected 0 <= index < 1,000,000 and seed >= 0, got {index}, {seed}')
    block = _SPLIT_BLOCKS[split] + (seed if split == 'train' else 0)
    return block * _SEEDS_PER_BLOCK + index


class Scene(NamedTuple):
    """A picture with its labels.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8, class ids.
        regions: (H, W) uint8, a number for each piece of stuff and each thing.
    """

    image: np.ndarray
    labels: np.ndarray
    regions: np.ndarray


def render_scene(world: ShapesWorld, seed: int) -> Scene:
    """Draw one scene; the same world and seed always give the same scene.

    Args:
        world: What scenes look like.
        seed: A non-negative number.

    Returns:
        Image, labels and regions.
    """
    rng = np.random.default_rng((world.key, seed))
    regions, classes = _lay_out_stuff(world, rng)
    image = np.zeros((world.size, world.size, 3), np.float32)
    labels = np.zeros((world.size, world.size), np.uint8)
    for region, index in enumerate(classes):
        inside = regions == region
        image[inside] = _paint_stuff(world, world.stuff[index], rng)[inside]
        labels[inside] = len(world.things) + index
    _add_things(world, rng, image, labels, regions)
    return Scene(_photograph(world, rng, image), labels, regions)


def _lay_out_stuff(world: ShapesWorld, rng: Generator) -> Tuple[np.ndarray, List[int]]:
    """Which cell each pixel belongs to, (H, W) uint8, and the stuff of each cell."""
    low, high = world.num_stuff
    count = int(rng.integers(low, min(high, len(world.stuff)) + 1))
    classes = rng.choice(len(world.stuff), count, replace=False)
    y, x = np.mgrid[: world.size, : world.size].astype(np.float32) / world.size
    wobble = 0.02 * smooth_noise(rng, world.size, 8, 8)
    if world.ordered_stuff:
        classes = np.sort(classes)
        shares = np.cumsum(rng.uniform(0.7, 1.3, count))
        height = y + wobble + rng.uniform(-0.12, 0.12) * (x - 0.5)
        cells = np.searchsorted(shares[:-1] / shares[-1], height)
    else:
        seeds = _spread_points(rng, count)
        distances = [np.hypot(x - sx + wobble, y - sy + wobble) for sx, sy in seeds]
        cells = np.argmin(distances, axis=0)
    return cells.astype(np.uint8), classes.tolist()


def _spread_points(rng: Generator, count: int) -> np.ndarray:
    """Points of the unit square that are not too near to each other: (count, 2)."""
    candidates = rng.uniform(0.08, 0.92, (12, count, 2))
    gaps = np.linalg.norm(candidates[:, :, None] - candidates[:, None], axis=-1)
    gaps += 9 * np.eye(count)
    farthest: np.ndarray = candidates[gaps.min(axis=(1, 2)).argmax()]
    return farthest


def _paint_stuff(world: ShapesWorld, stuff: StuffClass, rng: Generator) -> np.ndarray:
    """The texture over the whole canvas: (H, W, 3) float32 between 0 and 1."""
    hue, saturation = stuff.hue + rng.normal(0, 0.03), stuff.saturation * rng.uniform(0.8, 1.2)
    if rng.uniform() < world.odd_colours:
        hue, saturation = rng.uniform(), rng.uniform(0.1, 0.7)
    saturation = min(saturation * world.saturation, 1.0)
    value = rng.uniform(0.55, 0.95)
    light = hsv_to_rgb(hue, saturation, value)
    dark = hsv_to_rgb(hue + rng.normal(0, 0.02), saturation, value * rng.uniform(0.4, 0.6))
    pattern = TEXTURES[stuff.texture](rng, world.size)[..., None]
    painted: np.ndarray = light + (dark - light) * pattern
    return painted


def _add_things(
    world: ShapesWorld, rng: Generator, image: np.ndarray, labels: np.ndarray, regions: np.ndarray
) -> None:
    """Paint things that hardly overlap upon the three maps, in place."""
    taken = np.zeros(labels.shape, bool)
    low, high = world.num_things
    number = int(regions.max()) + 1
    for index in rng.choice(len(world.things), int(rng.integers(low, high + 1))):
        thing = world.things[index]
        for _ in range(8):
            cover = _place_thing(world, thing, rng)
            body = cover > 0.5
            if body.sum() >= 30 and (body & taken).sum() < 0.1 * body.sum():
                break
        else:
            continue
        colour = _colour_apart(world, rng, image[body].mean(axis=0))
        image += (_shade(world, rng, colour) - image) * cover[..., None]
        labels[body], regions[body] = index, number
        taken |= body
        number += 1


def _place_thing(world: ShapesWorld, thing: ThingClass, rng: Generator) -> np.ndarray:
    """How much of each pixel the thing covers, at a random place near its own."""
    if thing.place is None:
        centre = rng.uniform(0.12, 0.88, 2)
    else:
        centre = rng.normal(thing.place, world.place_deviation).clip(0.08, 0.92)
    radius, angle = rng.uniform(*thing.diameter) / 2, rng.normal(0, 0.2)
    return draw_shape(thing.shape, world.size, tuple(centre * world.size), radius, angle)


def _colour_apart(world: ShapesWorld, rng: Generator, background: np.ndarray) -> np.ndarray:
    """A colour that can be told from the background: the farthest of four."""
    colours = [
        hsv_to_rgb(rng.uniform(), world.saturation * rng.uniform(0.5, 1), rng.uniform(0.35, 1))
        for _ in range(4)
    ]
    return max(colours, key=lambda colour: float(np.abs(colour - background).sum()))


def _shade(world: ShapesWorld, rng: Generator, colour: np.ndarray) -> np.ndarray:
    """A plain colour under a faint slope of light: (H, W, 3)."""
    shaded: np.ndarray = colour * (1 + _slope(rng, world.size, 0.15))[..., None]
    return shaded


def _slope(rng: Generator, size: int, strength: float) -> np.ndarray:
    """A plane in a random direction, between -strength and strength: (size, size)."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size * 2 - 1
    angle = rng.uniform(0, 2 * np.pi)
    slope: np.ndarray = strength * (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2)
    return slope


def _photograph(world: ShapesWorld, rng: Generator, image: np.ndarray) -> np.ndarray:
    """Light, lens and sensor: what the domain shift consists of."""
    image = image * (1 + _slope(rng, world.size, world.lighting * rng.uniform()))[..., None]
    image = image.clip(0, 1) ** rng.uniform(*world.gamma)
    sigma = rng.uniform(*world.blur)
    if sigma > 0.2:  # below that the kernel is a single pixel
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image * 255 + rng.normal(0, world.noise, image.shape)
    return np.asarray(image.clip(0, 255).round().astype(np.uint8))
