"""Large pictures in tiles that overlap, each pixel of which belongs to one tile."""

import itertools
from typing import List, NamedTuple, Optional, Tuple

__all__ = ['LARGE', 'Part', 'Tile', 'Tiling', 'lay_tiles']

#: A picture is cut into tiles where one of its sides is longer than this many times that of a tile.
LARGE = 2
#: Of a tile's sides that the next tile has too, where nothing else is said: one part in so many.
_OVERLAP = 4

Size = Tuple[int, int]


class Part(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """Its rows in the picture."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Its columns in the picture."""
        return slice(self.left, self.left + self.width)

    def inside(self, other: 'Part') -> 'Part':
        """The same rectangle, from the corner of another one."""
        return self._replace(top=self.top - other.top, left=self.left - other.left)


class Tile(NamedTuple):
    """What the model sees at once, and of which part of it the labels count."""

    seen: Part
    kept: Part


class Tiling(NamedTuple):
    """How pictures are cut.

    Attributes:
        tile: (height, width) of a tile in pixels; None if every picture is seen as a whole.
        overlap: What neighbours share, in pixels.
        is_forced: Whether every picture that is larger than a tile is cut, and not only those
            that are more than :data:`LARGE` times as large.
    """

    tile: Optional[Size]
    overlap: Size
    is_forced: bool = False

    @classmethod
    def of(cls, tile: Optional[Size], overlap: Optional[int], is_forced: bool) -> 'Tiling':
        """Fill in the overlap, and check it.

        Raises:
            ValueError: If neighbours would share all of a tile.
        """
        if tile is None:
            return cls(None, (0, 0))
        shared = tuple(side // _OVERLAP if overlap is None else overlap for side in tile)
        if any(own < 0 or own >= side for own, side in zip(shared, tile)):
            raise ValueError(
                f'overlap: expected a number of pixels from 0 on that is below the sides of a '
                f'tile, {tile[0]} x {tile[1]} (height x width), found {overlap}'
            )
        return cls(tile, (shared[0], shared[1]), is_forced)

    def describe(self) -> str:
        """How pictures are cut, in words."""
        if self.tile is None:
            return 'none'
        sides, shared = (f'{height} x {width}' for height, width in (self.tile, self.overlap))
        which = 'all that are larger' if self.is_forced else 'very large ones'
        return f'{sides} pixels with an overlap of {shared}, of {which}'

    def cut(self, size: Size) -> List[Tile]:
        """The tiles of a picture (H, W); one, if it is seen as a whole."""
        factor = 1 if self.is_forced else LARGE
        if self.tile is None or not any(own > factor * side for own, side in zip(size, self.tile)):
            whole = Part(0, 0, *size)
            return [Tile(whole, whole)]
        return lay_tiles(size, self.tile, self.overlap)


def lay_tiles(size: Size, tile: Size, overlap: Size) -> List[Tile]:
    """Cover a picture with tiles, row by row.

    The last of a row or column is moved back into the picture. Each pixel belongs to the tile whose
    middle is nearest.

    Args:
        size: (H, W) of the picture.
        tile: Height and width of a tile.
        overlap: What neighbours share at least, down and to the right.
    """
    rows, columns = (_lay_along(*sides) for sides in zip(size, tile, overlap))
    return [
        Tile(
            Part(top, left, height, width),
            Part(first, second, last_row - first, last_column - second),
        )
        for top, height, first, last_row in rows
        for left, width, second, last_column in columns
    ]


def _lay_along(length: int, tile: int, overlap: int) -> List[Tuple[int, int, int, int]]:
    """Along a side: where each tile begins, how long it is, and from where to where it counts."""
    last = max(length - tile, 0)
    starts = [*range(0, last, tile - overlap), last]
    middles = [(start + after + tile) // 2 for start, after in itertools.pairwise(starts)]
    borders = [0, *middles, length]
    return [
        (start, min(tile, length), first, end)
        for start, (first, end) in zip(starts, itertools.pairwise(borders))
    ]
