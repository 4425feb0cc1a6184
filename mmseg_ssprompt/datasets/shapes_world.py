"""ShapesWorld: a seeded generator of small labelled scenes, the project's embedded data.

A scene is a few regions of texture ("stuff") with a few shapes ("things") upon them. The
``pretraining`` world is what sam-tiny grew up in; ``downstream`` worlds see the same brushes
through a domain shift, with classes and names that were not in pre-training.
"""

from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple

import cv2
import numpy as np
from numpy.random import Generator

from .shapes_drawing import TEXTURES, draw_shape, hsv_to_rgb, smooth_noise

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

Range = Tuple[float, float]


@dataclass(frozen=True)
class ThingClass:
    """A shape with a name.

    Attributes:
        name: What people call it.
        shape: A key of ``SHAPES``.
        synonyms: Other names, used in pre-training.
        diameter: Smallest and largest extent, in pixels.
        place: Preferred centre (x, y) as fractions of the image. Defaults to None: anywhere.
    """

    name: str
    shape: str
    synonyms: Tuple[str, ...] = ()
    diameter: Range = (20, 42)
    place: Optional[Tuple[float, float]] = None


@dataclass(frozen=True)
class StuffClass:
    """A texture with a name.

    Attributes:
        name: What people call it.
        texture: A key of ``TEXTURES``.
        hue: Its usual hue, between 0 and 1.
        saturation: Its usual saturation, between 0 and 1.
        synonyms: Other names, used in pre-training.
    """

    name: str
    texture: str
    hue: float
    saturation: float
    synonyms: Tuple[str, ...] = ()


@dataclass(frozen=True)
class ShapesWorld:
    """What scenes look like; class ids are things first, then stuff, in the order given.

    Attributes:
        key: Mixed into every scene's seed, so that two worlds never draw the same scene.
        things: The classes of shapes.
        stuff: The classes of textures; with ``ordered_stuff`` from the top downwards.
        ordered_stuff: Whether stuff lies in horizontal bands of fixed order, or in cells
            anywhere.
        num_things: Fewest and most shapes of a scene.
        num_stuff: Fewest and most textures of a scene.
        odd_colours: How often a texture has a colour that is not its own.
        saturation: Factor on all saturations.
        place_deviation: Standard deviation of things around their place, as a fraction.
        gamma: Range of the exponent on intensities.
        lighting: Strength of a slope of light across the image.
        blur: Range of the standard deviation of the blur, in pixels.
        noise: Standard deviation of the noise, of 255.
        size: Side of the image, in pixels.
    """

    key: int
    things: Tuple[ThingClass, ...]
    stuff: Tuple[StuffClass, ...]
    ordered_stuff: bool = False
    num_things: Tuple[int, int] = (1, 5)
    num_stuff: Tuple[int, int] = (2, 4)
    odd_colours: float = 0.3
    saturation: float = 1.0
    place_deviation: float = 0.12
    gamma: Range = (0.9, 1.1)
    lighting: float = 0.1
    blur: Range = (0.0, 0.3)
    noise: float = 5.0
    size: int = 96

    @property
    def thing_classes(self) -> Tuple[str, ...]:
        """Names of the things."""
        return tuple(thing.name for thing in self.things)

    @property
    def stuff_classes(self) -> Tuple[str, ...]:
        """Names of the stuff."""
        return tuple(stuff.name for stuff in self.stuff)

    @property
    def classes(self) -> Tuple[str, ...]:
        """Names of all classes, in the order of their ids."""
        return self.thing_classes + self.stuff_classes


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


_PRETRAINING = ShapesWorld(
    key=1,
    things=(
        ThingClass('circle', 'circle', ('disc', 'ball')),
        ThingClass('square', 'square', ('box', 'block')),
        ThingClass('triangle', 'triangle', ('wedge', 'pyramid')),
        ThingClass('star', 'star', ('starfish', 'pentagram')),
        ThingClass('cross', 'cross', ('plus sign', 'plus')),
        ThingClass('ring', 'ring', ('hoop', 'donut')),
        ThingClass('crescent', 'crescent', ('moon', 'half moon')),
        ThingClass('heart', 'heart', ('valentine', 'love heart')),
        ThingClass('arrow', 'arrow', ('pointer', 'direction arrow')),
    ),
    stuff=(
        StuffClass('sky', 'plain', 0.58, 0.45, ('clear sky', 'air')),
        StuffClass('water', 'waves', 0.52, 0.65, ('sea', 'river')),
        StuffClass('grass', 'strokes', 0.30, 0.65, ('lawn', 'meadow')),
        StuffClass('sand', 'grain', 0.12, 0.45, ('beach', 'desert')),
        StuffClass('brick wall', 'bricks', 0.02, 0.60, ('bricks', 'masonry')),
        StuffClass('tiled floor', 'checks', 0.60, 0.10, ('tiles', 'chequered floor')),
        StuffClass('striped cloth', 'stripes', 0.80, 0.50, ('stripes', 'fabric')),
        StuffClass('pebbles', 'dots', 0.08, 0.20, ('gravel', 'stones')),
    ),
)

_DOWNSTREAM = ShapesWorld(
    key=2,
    things=(
        ThingClass('ball', 'circle', diameter=(14, 22), place=(0.30, 0.84)),
        ThingClass('heart balloon', 'heart', diameter=(18, 26), place=(0.72, 0.18)),
        ThingClass('kite', 'kite', diameter=(22, 32), place=(0.28, 0.16)),
        ThingClass('tent', 'triangle', diameter=(24, 36), place=(0.22, 0.52)),
        ThingClass('house', 'house', diameter=(26, 40), place=(0.68, 0.48)),
        ThingClass('first aid post', 'cross', diameter=(16, 24), place=(0.76, 0.84)),
    ),
    stuff=(
        StuffClass('sky', 'plain', 0.58, 0.45),
        StuffClass('forest', 'blobs', 0.36, 0.55),
        StuffClass('lake', 'waves', 0.52, 0.60),
        StuffClass('tiled pavement', 'checks', 0.60, 0.10),
    ),
    ordered_stuff=True,
    num_things=(2, 5),
    odd_colours=0.1,
    saturation=0.55,
    gamma=(0.75, 1.5),
    lighting=0.3,
    blur=(0.4, 0.9),
    noise=7.0,
)

#: All worlds by name; another one is one more entry.
WORLDS: Dict[str, ShapesWorld] = dict(pretraining=_PRETRAINING, downstream=_DOWNSTREAM)

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
        raise ValueError(f'expected 0 <= index < {_SEEDS_PER_BLOCK} and seed >= 0, got {index}, {seed}')
    block = _SPLIT_BLOCKS[split] + (seed if split == 'train' else 0)
    return block * _SEEDS_PER_BLOCK + index


def get_world(name: str) -> ShapesWorld:
    """Look a world up by name.

    Raises:
        ValueError: If ``name`` is not a key of :data:`WORLDS`.
    """
    if name not in WORLDS:
        raise ValueError(f'unknown world {name!r}: expected one of {sorted(WORLDS)}')
    return WORLDS[name]


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
    return candidates[gaps.min(axis=(1, 2)).argmax()]


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
    return light + (dark - light) * pattern


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
    return colour * (1 + _slope(rng, world.size, 0.15))[..., None]


def _slope(rng: Generator, size: int, strength: float) -> np.ndarray:
    """A plane in a random direction, between -strength and strength: (size, size)."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size * 2 - 1
    angle = rng.uniform(0, 2 * np.pi)
    return strength * (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2)


def _photograph(world: ShapesWorld, rng: Generator, image: np.ndarray) -> np.ndarray:
    """Light, lens and sensor: what the domain shift consists of."""
    image = image * (1 + _slope(rng, world.size, world.lighting * rng.uniform()))[..., None]
    image = image.clip(0, 1) ** rng.uniform(*world.gamma)
    sigma = rng.uniform(*world.blur)
    if sigma > 0.2:  # below that the kernel is a single pixel
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image * 255 + rng.normal(0, world.noise, image.shape)
    return image.clip(0, 255).round().astype(np.uint8)
