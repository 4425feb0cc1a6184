"""ShapesWorld through mmseg's registries, loaders and transforms."""

import mmcv
import numpy as np
import pytest
import torch
from mmengine import fileio

from mmseg_ssprompt.miniature.shapes_backend import shapes_path
from mmseg_ssprompt.miniature.shapes_dataset import ShapesCoastDataset, ShapesWorldDataset
from mmseg_ssprompt.miniature.shapes_tables import COLOURS
from mmseg_ssprompt.miniature.shapes_world import get_world, render_scene, scene_seed

from mmseg.registry import DATASETS  # isort: skip

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def build(**kwargs):
    return DATASETS.build(dict(dict(type='ShapesWorldDataset', pipeline=LOAD), **kwargs))


@pytest.mark.parametrize(('split', 'length'), [('train', 128), ('val', 100), ('test', 200)])
def test_default_lengths(split, length):
    assert len(build(split=split)) == length


def test_ordinary_loaders_read_scenes():
    results = build(split='test', num_images=3)[2]
    scene = render_scene(get_world('downstream'), scene_seed('test', 2))
    np.testing.assert_array_equal(results['img'], scene.image[..., ::-1])  # BGR
    np.testing.assert_array_equal(results['gt_seg_map'], scene.labels)
    assert results['img_shape'] == results['ori_shape'] == (96, 96)
    assert results['seg_fields'] == ['gt_seg_map']
    assert results['img_path'] == 'shapes://downstream/image/test_0_000002.png'
    assert results['reduce_zero_label'] is False


def test_a_training_set_is_read_by_its_seed():
    path = shapes_path('downstream', 'image', 'train', seed=3, index=5)
    image = mmcv.imfrombytes(fileio.get(path), channel_order='rgb')
    expected = render_scene(get_world('downstream'), scene_seed('train', 5, seed=3)).image
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    'path', ['shapes://downstream/depth/test_0_000002.png', 'shapes://downstream/image/2.png']
)
def test_a_path_of_another_form_is_no_file(path):
    with pytest.raises(FileNotFoundError, match='WORLD'):
        fileio.get(path)


def test_scenes_are_no_texts():
    with pytest.raises(TypeError, match='not a text'):
        fileio.get_text('shapes://downstream/image/test_0_000002.png')


def test_reading_twice_gives_the_same():
    dataset = build(num_images=2)
    first, second = dataset[1], dataset[1]
    np.testing.assert_array_equal(first['img'], second['img'])
    assert second['seg_fields'] == ['gt_seg_map']


def test_mmseg_transforms_follow():
    flip = dict(type='RandomFlip', prob=1.0)
    sample = build(num_images=1, pipeline=[*LOAD, flip, dict(type='PackSegInputs')])[0]
    scene = render_scene(get_world('downstream'), scene_seed('train', 0))
    expected = torch.from_numpy(scene.labels[:, ::-1].copy()).long()
    assert sample['inputs'].shape == (3, 96, 96)
    assert sample['inputs'].dtype == torch.uint8
    assert torch.equal(sample['data_samples'].gt_sem_seg.data[0].long(), expected)


def test_seed_draws_another_training_set_and_no_other_test_set():
    assert not np.array_equal(build(seed=0)[0]['img'], build(seed=1)[0]['img'])
    first, second = build(split='test', seed=0)[0], build(split='test', seed=1)[0]
    np.testing.assert_array_equal(first['img'], second['img'])


@pytest.mark.parametrize(
    ('world', 'things', 'stuff'), [('downstream', 6, 4), ('coast', 6, 4), ('pretraining', 9, 8)]
)
def test_metainfo(world, things, stuff):
    metainfo = build(world=world).metainfo
    assert metainfo['classes'] == get_world(world).classes
    assert len(metainfo['palette']) == len(metainfo['classes'])
    assert len({tuple(colour) for colour in metainfo['palette']}) == things + stuff
    assert len(metainfo['thing_classes']) == things
    assert len(metainfo['stuff_classes']) == stuff
    assert metainfo['classes'] == metainfo['thing_classes'] + metainfo['stuff_classes']


def test_metainfo_of_the_coast():
    things = ('ball', 'kite', 'tent', 'sailing boat', 'lighthouse', 'life buoy')
    stuff = ('sky', 'sea', 'sand', 'tiled pavement')
    for metainfo in (ShapesCoastDataset.METAINFO, build(type='ShapesCoastDataset').metainfo):
        assert metainfo['classes'] == things + stuff
        assert metainfo['thing_classes'] == things
        assert metainfo['stuff_classes'] == stuff
        assert metainfo['palette'] == [list(COLOURS[name]) for name in things + stuff]
    assert ShapesWorldDataset.METAINFO['classes'] == get_world('downstream').classes


@pytest.mark.parametrize(('split', 'length'), [('train', 128), ('val', 100), ('test', 200)])
def test_the_coast_dataset_reads_its_own_scenes(split, length):
    dataset = build(type='ShapesCoastDataset', split=split)
    assert len(dataset) == length
    results = dataset[2]
    scene = render_scene(get_world('coast'), scene_seed(split, 2))
    np.testing.assert_array_equal(results['img'], scene.image[..., ::-1])  # BGR
    np.testing.assert_array_equal(results['gt_seg_map'], scene.labels)
    assert results['img_path'] == f'shapes://coast/image/{split}_0_000002.png'


def test_selected_classes_of_the_coast():
    chosen = dict(classes=('sea', 'lighthouse'))
    dataset = build(type='ShapesCoastDataset', split='test', metainfo=chosen)
    assert dataset.label_map == {i: {7: 0, 4: 1}.get(i, 255) for i in range(10)}
    assert dataset.metainfo['thing_classes'] == ('lighthouse',)
    with pytest.raises(ValueError, match='lake'):
        build(type='ShapesCoastDataset', metainfo=dict(classes=('sky', 'lake')))


def test_selected_classes():
    dataset = build(split='test', metainfo=dict(classes=('sky', 'house')))
    seen = np.unique([dataset[index]['gt_seg_map'] for index in range(10)])
    assert seen.tolist() == [0, 1, 255]
    assert dataset.metainfo['thing_classes'] == ('house',)
    assert len(dataset.metainfo['palette']) == 2


def test_unknown_class_is_an_error():
    with pytest.raises(ValueError, match='unicorn'):
        build(metainfo=dict(classes=('sky', 'unicorn')))


@pytest.mark.parametrize('kwargs', [dict(split='holdout'), dict(num_images=0), dict(world='mars')])
def test_bad_arguments_are_errors(kwargs):
    with pytest.raises(ValueError):
        ShapesWorldDataset(**kwargs)


OBJECTS = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments'),
    dict(type='PackSegmentInputs'),
]


@pytest.mark.parametrize('world', ['downstream', 'coast'])
def test_things_and_stuff_are_segments(world):
    kind = dict(downstream='ShapesWorldDataset', coast='ShapesCoastDataset')[world]
    dataset = build(type=kind, num_images=6, pipeline=OBJECTS)
    for index in range(6):
        scene = render_scene(get_world(world), scene_seed('train', index))
        segments = dataset[index]['data_samples'].gt_segments
        numbers = segments.data[0].numpy()
        assert numbers.min() == 0  # no pixel is void
        for number, info in enumerate(segments.segments_info):
            (label,) = np.unique(scene.labels[numbers == number])
            (region,) = np.unique(scene.regions[numbers == number])
            np.testing.assert_array_equal(numbers == number, scene.regions == region)
            assert (info['category_id'], info['iscrowd']) == (label, 0)
        assert len(segments.segments_info) == len(np.unique(scene.regions))


@pytest.mark.parametrize('kind', ['ShapesWorldInstanceDataset', 'ShapesCoastInstanceDataset'])
def test_things_alone(kind):
    dataset = build(type=kind, num_images=4, pipeline=OBJECTS)
    world = get_world('coast' if 'Coast' in kind else 'downstream')
    assert dataset.metainfo['classes'] == dataset.metainfo['thing_classes'] == world.thing_classes
    assert dataset.metainfo['stuff_classes'] == ()
    assert DATASETS.get(kind).METAINFO['classes'] == world.thing_classes
    for index in range(4):
        scene = render_scene(world, scene_seed('train', index))
        segments = dataset[index]['data_samples'].gt_segments
        classes = [info['category_id'] for info in segments.segments_info]
        (rest,) = [number for number, category in enumerate(classes) if category == -1]
        is_rest = segments.data[0].numpy() == rest
        np.testing.assert_array_equal(is_rest, scene.labels >= len(world.things))
        things = np.unique(scene.regions[~is_rest])
        assert len(classes) == 1 + len(things)


def test_some_classes_of_a_world_as_segments():
    dataset = build(num_images=3, pipeline=OBJECTS, metainfo=dict(classes=('tent', 'sky')))
    scene = render_scene(get_world('downstream'), scene_seed('train', 0))
    names = np.array(get_world('downstream').classes)[scene.labels]
    segments = dataset[0]['data_samples'].gt_segments
    is_void = segments.data[0].numpy() == -1
    np.testing.assert_array_equal(is_void, ~np.isin(names, ('tent', 'sky')))
