"""The generator: seeds, splits, labels, and figures that can be checked by hand."""

import dataclasses

import numpy as np
import pytest

from mmseg_ssprompt.miniature.shapes_drawing import SHAPES, TEXTURES, draw_shape, hsv_to_rgb
from mmseg_ssprompt.miniature.shapes_world import WORLDS, get_world, render_scene, scene_seed

WORLD_NAMES = sorted(WORLDS)
ORDERED_WORLDS = ['coast', 'downstream']


def things_of(world, num_scenes):
    """Of each thing in the scenes: its class id, and the (96, 96) pixels that it covers."""
    for seed in range(num_scenes):
        scene = render_scene(world, seed)
        for region in np.unique(scene.regions):
            body = scene.regions == region
            index = int(scene.labels[body][0])
            if index < len(world.things):
                yield index, body


@pytest.mark.parametrize('name', WORLD_NAMES)
def test_scene_is_a_labelled_image(name):
    world = get_world(name)
    image, labels, regions = render_scene(world, 3)
    assert image.shape == (96, 96, 3)
    assert labels.shape == regions.shape == (96, 96)
    assert image.dtype == labels.dtype == regions.dtype == np.uint8
    assert labels.max() < len(world.classes)


@pytest.mark.parametrize('name', WORLD_NAMES)
def test_same_seed_same_scene(name):
    world = get_world(name)
    first, second, other = (render_scene(world, seed) for seed in (7, 7, 8))
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)
    assert (first.image != other.image).any()


def test_worlds_do_not_share_scenes():
    keys = [world.key for world in WORLDS.values()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize('name', WORLD_NAMES)
def test_every_class_appears(name):
    world = get_world(name)
    seen = np.unique([render_scene(world, seed).labels for seed in range(60)])
    assert seen.tolist() == list(range(len(world.classes)))


@pytest.mark.parametrize('name', WORLD_NAMES)
def test_region_has_one_class(name):
    _, labels, regions = render_scene(get_world(name), 5)
    for region in np.unique(regions):
        assert len(np.unique(labels[regions == region])) == 1


def test_classes_are_things_then_stuff():
    world = get_world('downstream')
    assert world.classes == world.thing_classes + world.stuff_classes
    assert (len(world.thing_classes), len(world.stuff_classes)) == (6, 4)


def test_downstream_has_unseen_brushes_and_names():
    seen, new = get_world('pretraining'), get_world('downstream')
    assert {t.shape for t in new.things} - {t.shape for t in seen.things}
    assert {s.texture for s in new.stuff} - {s.texture for s in seen.stuff}
    names = {name for c in (*seen.things, *seen.stuff) for name in (c.name, *c.synonyms)}
    assert set(new.classes) & names and set(new.classes) - names


def test_the_coast_shares_half_of_its_names_and_none_of_its_scenes():
    coast, downstream = get_world('coast'), get_world('downstream')
    shared = [name for name in coast.classes if name in downstream.classes]
    assert shared == ['ball', 'kite', 'tent', 'sky', 'tiled pavement']
    assert len(coast.classes) == 10
    assert (render_scene(coast, 3).image != render_scene(downstream, 3).image).any()


def test_the_coast_has_unseen_shapes_and_names():
    seen, coast = get_world('pretraining'), get_world('coast')
    assert {t.shape for t in coast.things} - {t.shape for t in seen.things} == {
        'kite',
        'boat',
        'tower',
    }
    assert not {s.texture for s in coast.stuff} - {s.texture for s in seen.stuff}
    names = {name for c in (*seen.things, *seen.stuff) for name in (c.name, *c.synonyms)}
    assert [name for name in coast.classes if name in names] == ['ball', 'sky', 'sea', 'sand']


def test_areas_of_the_things_at_the_coast():
    world = get_world('coast')
    areas = [[] for _ in world.things]
    for index, body in things_of(world, 80):
        areas[index].append(body.sum())
    # Area over diameter squared, times the mean square (a^2 + ab + b^2) / 3 of diameters that
    # are uniform between a and b; what is drawn is a little more, by the outline's width.
    expected = dict(
        ball=np.pi / 4 * (81 + 126 + 196) / 3,
        kite=1.3 / 4 * (144 + 216 + 324) / 3,
        tent=1.85 / 4 * (144 + 216 + 324) / 3,
        boat=1.805 / 4 * (121 + 187 + 289) / 3,
        lighthouse=0.67 / 4 * (676 + 988 + 1444) / 3,
        buoy=np.pi / 4 * (1 - 0.55**2) * (100 + 140 + 196) / 3,
    )
    means = [np.mean(found) for found in areas]
    np.testing.assert_allclose(means, list(expected.values()), rtol=0.15)


def test_a_grid_of_points_misses_things_at_the_coast():
    missed = {}
    places = np.arange(6, 96, 12)  # 8 x 8 points
    for name in ORDERED_WORLDS:
        bodies = [body for _, body in things_of(get_world(name), 80)]
        missed[name] = np.mean([not body[np.ix_(places, places)].any() for body in bodies])
    assert missed['downstream'] < 0.05
    # A point falls on a thing of A pixels with a chance of at most A / 144; A is 110 on average.
    assert 1 - 110 / 144 < missed['coast'] < 0.45


@pytest.mark.parametrize('name', ORDERED_WORLDS)
def test_stuff_lies_in_order(name):
    world = get_world(name)
    for seed in range(20):
        column = render_scene(dataclasses.replace(world, num_things=(0, 0)), seed).labels[:, 48]
        assert (np.diff(column.astype(int)) >= 0).all()


@pytest.mark.parametrize('name', ORDERED_WORLDS)
def test_things_keep_near_their_place(name):
    world = get_world(name)
    rows = [[] for _ in world.things]
    for seed in range(100):
        labels = render_scene(world, seed).labels
        for index in range(len(world.things)):
            if (labels == index).any():
                rows[index].append(np.nonzero(labels == index)[0].mean() / world.size)
    for thing, found in zip(world.things, rows):
        assert np.mean(found) == pytest.approx(thing.place[1], abs=0.1)


def test_splits_share_no_seed():
    seeds = {
        (split, seed): {scene_seed(split, index, seed) for index in (0, 1, 999_999)}
        for split, seed in (('train', 0), ('train', 1), ('val', 0), ('test', 0))
    }
    assert len(set().union(*seeds.values())) == 12
    assert scene_seed('test', 4, seed=3) == scene_seed('test', 4)


@pytest.mark.parametrize(
    'args', [('holdout', 0), ('test', -1), ('test', 1_000_000), ('train', 0, -1)]
)
def test_seed_out_of_range_is_an_error(args):
    with pytest.raises(ValueError):
        scene_seed(*args)


def test_unknown_world_is_an_error():
    with pytest.raises(ValueError, match='downstream'):
        get_world('mars')


@pytest.mark.parametrize(
    ('shape', 'area'),
    [
        ('square', 1.7**2 * 400),  # side 1.7 of the radius
        ('circle', np.pi * 400),
        ('ring', np.pi * (1 - 0.55**2) * 400),
        ('triangle', 0.5 * 2 * 1.85 * 400),
        ('cross', (4 - 4 * 0.64**2) * 400),  # a square without its four corners
        ('kite', 0.5 * 2 * 1.3 * 400),
        ('boat', (0.5 * 1.3 * 1.3 + 0.5 * (2 + 1.2) * 0.6) * 400),  # sail and hull
        ('tower', (0.5 * 0.32 * 0.25 + 0.5 * (0.32 + 0.4) * 1.75) * 400),  # roof and shaft
    ],
)
def test_area_of_shape(shape, area):
    cover = draw_shape(shape, 96, (48, 48), 20, 0.3)
    assert cover.sum() == pytest.approx(area, rel=0.04)


@pytest.mark.parametrize('shape', sorted(SHAPES))
def test_shape_is_where_it_was_put(shape):
    cover = draw_shape(shape, 96, (30, 60), 10, 0.0)
    y, x = np.nonzero(cover > 0.5)
    assert x.min() >= 18 and x.max() <= 42 and y.min() >= 48 and y.max() <= 72
    assert cover.min() >= 0 and cover.max() <= 1


def test_the_largest_tower_is_thinner_than_a_patch():
    largest = get_world('coast').things[4]
    assert (largest.name, largest.shape, largest.diameter[1]) == ('lighthouse', 'tower', 38)
    cover = draw_shape('tower', 96, (48, 48), 19, 0.0)
    rows, columns = cover.sum(axis=1), cover.sum(axis=0)
    assert rows.max() == pytest.approx(0.4 * 19, abs=0.4)  # 7.6 pixels; a patch has 8
    assert columns.max() == pytest.approx(2 * 19, abs=0.5)


@pytest.mark.parametrize('texture', sorted(TEXTURES))
def test_texture_is_between_its_two_colours(texture):
    pattern = TEXTURES[texture](np.random.default_rng(0), 96)
    assert pattern.shape == (96, 96)
    assert pattern.min() >= 0 and pattern.max() <= 1
    assert np.ptp(pattern) > 0.4


@pytest.mark.parametrize(
    ('hue', 'rgb'), [(0, (1, 0, 0)), (1 / 3, (0, 1, 0)), (2 / 3, (0, 0, 1)), (1 / 6, (1, 1, 0))]
)
def test_colours(hue, rgb):
    np.testing.assert_allclose(hsv_to_rgb(hue, 1, 1), rgb, atol=1e-6)
    np.testing.assert_allclose(hsv_to_rgb(hue, 0, 0.5), (0.5, 0.5, 0.5), atol=1e-6)
