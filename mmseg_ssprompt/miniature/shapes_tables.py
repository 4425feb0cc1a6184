"""What ShapesWorld is made of: its classes of things and stuff, and its worlds."""

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

__all__ = ['COLOURS', 'WORLDS', 'ShapesWorld', 'StuffClass', 'ThingClass', 'get_world']

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

# Small and thin things, which a regular grid of points often misses; half of the class names are
# those of the other downstream world.
_COAST = ShapesWorld(
    key=3,
    things=(
        ThingClass('ball', 'circle', diameter=(9, 14), place=(0.45, 0.86)),
        ThingClass('kite', 'kite', diameter=(12, 18), place=(0.62, 0.12)),
        ThingClass('tent', 'triangle', diameter=(12, 18), place=(0.16, 0.78)),
        ThingClass('sailing boat', 'boat', diameter=(11, 17), place=(0.30, 0.42)),
        ThingClass('lighthouse', 'tower', diameter=(26, 38), place=(0.84, 0.40)),
        ThingClass('life buoy', 'ring', diameter=(10, 14), place=(0.58, 0.56)),
    ),
    stuff=(
        StuffClass('sky', 'plain', 0.58, 0.45),
        StuffClass('sea', 'waves', 0.52, 0.65),
        StuffClass('sand', 'grain', 0.12, 0.45),
        StuffClass('tiled pavement', 'checks', 0.60, 0.10),
    ),
    ordered_stuff=True,
    num_things=(3, 6),
    odd_colours=0.1,
    saturation=0.55,
    place_deviation=0.08,
    gamma=(0.75, 1.5),
    lighting=0.3,
    blur=(0.4, 0.7),
    noise=7.0,
)

#: What classes are drawn in, RGB: near the colour of what they are called, and never the same.
COLOURS: Dict[str, Tuple[int, int, int]] = {
    'ball': (226, 62, 50),
    'heart balloon': (240, 104, 166),
    'kite': (250, 206, 62),
    'tent': (242, 142, 44),
    'house': (140, 84, 52),
    'first aid post': (250, 248, 240),
    'sky': (156, 206, 240),
    'forest': (62, 124, 68),
    'lake': (42, 104, 172),
    'tiled pavement': (158, 158, 162),
    'sailing boat': (116, 70, 150),
    'lighthouse': (188, 32, 96),
    'life buoy': (255, 120, 80),
    'sea': (24, 116, 138),
    'sand': (228, 204, 150),
    'circle': (200, 40, 60),
    'square': (120, 90, 200),
    'triangle': (240, 150, 60),
    'star': (255, 220, 90),
    'cross': (248, 244, 232),
    'ring': (220, 110, 60),
    'crescent': (230, 230, 160),
    'heart': (236, 92, 150),
    'arrow': (70, 70, 80),
    'water': (40, 120, 190),
    'grass': (110, 170, 70),
    'brick wall': (168, 82, 62),
    'tiled floor': (170, 176, 186),
    'striped cloth': (160, 100, 176),
    'pebbles': (134, 122, 108),
}

#: All worlds by name; another one is one more entry.
WORLDS: Dict[str, ShapesWorld] = dict(
    pretraining=_PRETRAINING, downstream=_DOWNSTREAM, coast=_COAST
)


def get_world(name: str) -> ShapesWorld:
    """Look a world up by name.

    Raises:
        ValueError: If ``name`` is not a key of :data:`WORLDS`.
    """
    if name not in WORLDS:
        raise ValueError(f'unknown world {name!r}: expected one of {sorted(WORLDS)}')
    return WORLDS[name]
