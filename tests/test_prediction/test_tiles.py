"""Tiles cover a picture, and each pixel belongs to the one whose middle is nearest."""

import numpy as np
import pytest

from mmseg_ssprompt.prediction.tiles import Tiling, lay_tiles


@pytest.mark.parametrize(
    ('size', 'tile', 'overlap'),
    [
        ((10, 30), (10, 10), (0, 0)),
        ((23, 31), (8, 10), (3, 2)),
        ((7, 100), (9, 16), (8, 15)),
        ((64, 64), (64, 64), (16, 16)),
        ((65, 1), (64, 64), (16, 16)),
    ],
)
def test_each_pixel_belongs_to_the_nearest_tile(size, tile, overlap):
    tiles = lay_tiles(size, tile, overlap)
    owner = np.full(size, -1)
    distances = []
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    for number, (seen, kept) in enumerate(tiles):
        assert (seen.height, seen.width) == tuple(np.minimum(tile, size))
        assert owner[seen.rows, seen.columns].shape == (seen.height, seen.width)
        assert (owner[kept.rows, kept.columns] == -1).all()
        owner[kept.rows, kept.columns] = number
        inside = kept.inside(seen)
        assert inside.top >= 0 and inside.top + inside.height <= seen.height
        assert inside.left >= 0 and inside.left + inside.width <= seen.width
        down = np.abs(y - seen.top - seen.height / 2)
        distances.append(np.hypot(down, x - seen.left - seen.width / 2))
    assert (owner >= 0).all()
    nearest = np.min(distances, axis=0)
    own = np.take_along_axis(np.array(distances), owner[None], axis=0)[0]
    assert np.allclose(own, nearest)


def test_only_large_pictures_are_cut():
    tiling = Tiling.of((30, 40), None, is_forced=False)
    assert tiling.overlap == (7, 10)
    assert len(tiling.cut((60, 80))) == 1
    assert len(tiling.cut((61, 80))) > 1
    assert len(Tiling.of((30, 40), None, is_forced=True).cut((31, 40))) == 2
    assert len(Tiling.of(None, None, is_forced=False).cut((10_000, 10_000))) == 1


@pytest.mark.parametrize('overlap', [-1, 30])
def test_an_overlap_of_a_whole_tile_is_refused(overlap):
    with pytest.raises(ValueError, match=rf'below the sides of a tile, 30 x 40 .*found {overlap}'):
        Tiling.of((30, 40), overlap, is_forced=True)
