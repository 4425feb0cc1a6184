"""Each data set with objects reads a tree in its own layout, and gives the objects in it."""

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
from mmseg.registry import DATASETS

import segment_trees as trees
from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.segments import NO_CLASS
from segment_trees import LAYOUTS, Layout, files_of

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments'),
    dict(type='PackSegmentInputs'),
]


def build(root: Path, layout: Layout, **options: Any) -> Any:
    settings = dict(layout.train, pipeline=PIPELINE, serialize_data=False)
    settings.update(options)
    return DATASETS.build(dict(settings, type=layout.type, data_root=str(root)))


@pytest.fixture(params=LAYOUTS)
def layout(request) -> Layout:
    return LAYOUTS[request.param]


def show(sample: Any, classes: Any) -> Dict[Any, np.ndarray]:
    """The masks of a sample's segments, by class, crowd and place."""
    segments = sample.gt_segments
    numbers = segments.data[0].numpy()
    found = {}
    for index, info in enumerate(segments.segments_info):
        name = classes[info['category_id']] if info['category_id'] >= 0 else ''
        mask = numbers == index
        assert info['area'] == mask.sum()
        found[name.strip(), info['iscrowd'], tuple(np.argwhere(mask)[0])] = mask
    return found


def test_objects_are_those_of_the_files(tmp_path, layout):
    scene = layout.make(tmp_path)
    dataset = build(tmp_path, layout)
    classes = dataset.metainfo['classes']
    expected = {
        (each.name, each.iscrowd, tuple(np.argwhere(each.mask)[0])): each.mask
        for each in scene
        if each.name in {name.strip() for name in classes}  # in instances no regions
    }
    assert len(expected) >= 3
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        found = show(sample, classes)
        rest = [key for key in found if key[0] == '']
        assert sorted(found) == sorted([*expected, *rest])
        for key, mask in expected.items():
            assert np.array_equal(found[key], mask), key
        assert sample.gt_segments.data.shape == (1, *trees.SIZE)
        assert len({info['id'] for info in sample.gt_segments.segments_info}) == len(found)


def test_what_is_no_object(tmp_path, layout):
    """With stuff classes it is void; of instances it counts, but for what files say is void."""
    layout.make(tmp_path)
    dataset = build(tmp_path, layout)
    segments = dataset[0]['data_samples'].gt_segments
    numbers = segments.data[0].numpy()
    rest = [i for i, info in enumerate(segments.segments_info) if info['category_id'] == NO_CLASS]
    if dataset.metainfo['stuff_classes']:
        assert rest == []
        assert (numbers[:2] == -1).all()
        assert (numbers[2:] >= 0).all()
        return
    (index,) = rest
    has_void = layout.type in ('CityscapesInstanceDataset', 'BDD100KInstanceDataset')
    assert (numbers[:2] == (-1 if has_void else index)).all()
    assert (numbers[2] == index).all()
    assert segments.segments_info[index]['iscrowd'] == 0


def test_metainfo(tmp_path, layout):
    layout.make(tmp_path)
    metainfo = build(tmp_path, layout).metainfo
    classes, things = metainfo['classes'], metainfo['thing_classes']
    assert (len(classes), len(things)) == layout.counts
    assert {*things, *metainfo['stuff_classes']} == set(classes)
    assert len(set(classes)) == len(classes) == len(metainfo['palette'])


def test_records(tmp_path, layout):
    layout.make(tmp_path)
    records = build(tmp_path, layout).load_data_list()
    assert len(records) == 2
    assert records[0]['img_id'] == layout.first
    assert len({record['img_id'] for record in records}) == 2
    for record in records:
        assert Path(record['img_path']).is_file()
        assert Path(record['seg_map_path']).is_file()
        assert Path(record['segments']['path']).is_file()


def test_both_formats_of_cityscapes_give_the_same(tmp_path):
    trees.make_cityscapes(tmp_path)
    samples = [
        build(tmp_path, LAYOUTS[name])[0]['data_samples'].gt_segments
        for name in ('cityscapes_panoptic', 'cityscapes_converted')
    ]
    pictures = []
    for segments in samples:
        keys = ('category_id', 'iscrowd', 'area')
        infos = [tuple(info[key] for key in keys) for info in segments.segments_info]
        pictures.append([[infos[i] if i >= 0 else None for i in r] for r in segments.data[0]])
    assert pictures[0] == pictures[1]


def test_ids_of_cityscapes(tmp_path):
    trees.make_cityscapes(tmp_path)
    segments = build(tmp_path, LAYOUTS['cityscapes_panoptic'])[0]['data_samples'].gt_segments
    assert [info['id'] for info in segments.segments_info] == [7, 23, 26, 24002, 26000, 26001]
    assert [info['iscrowd'] for info in segments.segments_info] == [0, 0, 1, 0, 0, 0]


def test_ids_of_coco(tmp_path):
    trees.make_coco_panoptic(tmp_path)
    segments = build(tmp_path, LAYOUTS['coco_panoptic'])[0]['data_samples'].gt_segments
    assert [info['id'] for info in segments.segments_info] == [70_001 * n for n in range(1, 7)]


def test_some_classes_of_a_panoptic_data_set(tmp_path):
    """Others become void."""
    layout = LAYOUTS['cityscapes_panoptic']
    trees.make_cityscapes(tmp_path)
    dataset = build(tmp_path, layout, metainfo=dict(classes=['person', 'road']))
    metainfo = dataset.metainfo
    assert (metainfo['thing_classes'], metainfo['stuff_classes']) == (('person',), ('road',))
    assert metainfo['palette'] == [[220, 20, 60], [128, 64, 128]]
    segments = dataset[0]['data_samples'].gt_segments
    assert [(info['id'], info['category_id']) for info in segments.segments_info] == [
        (7, 1),
        (24002, 0),
    ]
    assert (segments.data[0][2:12] == -1).all()


@pytest.mark.parametrize('name', ['cityscapes_instances', 'coco_instances', 'bdd100k_instances'])
def test_some_classes_of_objects(tmp_path, name):
    """Others are the rest, which counts."""
    layout = LAYOUTS[name]
    scene = layout.make(tmp_path)
    other = scene[2].name
    dataset = build(tmp_path, layout, metainfo=dict(classes=[other]))
    segments = dataset[0]['data_samples'].gt_segments
    assert sorted(info['category_id'] for info in segments.segments_info) == [NO_CLASS, 0]
    numbers = segments.data[0].numpy()
    assert (numbers[scene[0].mask] == numbers[2, 0]).all()


def test_ones_own_panoptic_data(tmp_path):
    """Classes by names; things are what the file says."""
    names = trees.Names('heaven', 'meadow', 'cow', 'dog')
    scene = trees.draw_scene(names)
    trees.write_image(tmp_path / 'img/a.png')
    trees.write_coco_panoptic(
        tmp_path / 'train.json',
        tmp_path / 'maps',
        scene,
        trees.categories_of(names, first=7),
        [(1, 'a.png', 'a')],
    )
    layout = Layout('COCOPanopticDataset', None, files_of('img', 'maps', 'train.json'), None)
    classes = ('dog', 'meadow', 'cow', 'heaven')
    dataset = build(tmp_path, layout, metainfo=dict(classes=classes))
    assert dataset.metainfo['thing_classes'] == ('dog', 'cow')
    assert dataset.metainfo['stuff_classes'] == ('meadow', 'heaven')
    assert len(dataset.metainfo['palette']) == 4
    found = show(dataset[0]['data_samples'], classes)
    assert sorted(name for name, _, _ in found) == ['cow'] * 3 + ['dog', 'heaven', 'meadow']


def test_void_classes_of_ones_own(tmp_path):
    trees.make_coco_panoptic(tmp_path)
    metainfo = dict(
        classes=('person', 'grass-merged'),
        thing_classes=('person',),
        void_classes=('kite', 'sky-other-merged'),
    )
    dataset = build(tmp_path, LAYOUTS['coco_panoptic'], metainfo=metainfo)
    segments = dataset[0]['data_samples'].gt_segments
    assert sorted({info['category_id'] for info in segments.segments_info}) == [0, 1]
    assert (segments.data[0].numpy()[trees.OBJECTS[2]] == -1).all()


def test_images_without_annotations_can_be_predicted(tmp_path):
    trees.make_coco_panoptic(tmp_path)
    file = tmp_path / 'annotations/panoptic_train2017.json'
    content = json.loads(file.read_text())
    del content['annotations']
    file.write_text(json.dumps(content))
    pipeline = [PIPELINE[0], dict(type='LoadSegments', allow_missing=True), PIPELINE[2]]
    dataset = build(tmp_path, LAYOUTS['coco_panoptic'], pipeline=pipeline)
    assert 'gt_segments' not in dataset[0]['data_samples']
    with pytest.raises(DatasetError, match='expected segments, found none'):
        build(tmp_path, LAYOUTS['coco_panoptic'])[0]


def test_things_that_are_no_classes(tmp_path):
    metainfo = dict(classes=('a', 'b'), thing_classes=('c',))
    with pytest.raises(ValueError, match='expected some of the classes'):
        build(tmp_path, LAYOUTS['coco_panoptic'], metainfo=metainfo, lazy_init=True)


def test_objects_in_lists_lie_smaller_on_top(tmp_path):
    trees.make_coco_instances(tmp_path)
    file = tmp_path / 'annotations/instances_train2017.json'
    content = json.loads(file.read_text())
    large = dict(content['annotations'][0], id=5, segmentation=[trees.polygon_of(0, 0, 32, 24)])
    content['annotations'].insert(1, large)
    file.write_text(json.dumps(content))
    sample = build(tmp_path, LAYOUTS['coco_instances'])[0]['data_samples']
    numbers = sample.gt_segments.data[0].numpy()
    by_id = {info['id']: i for i, info in enumerate(sample.gt_segments.segments_info)}
    assert (numbers[trees.OBJECTS[0]] == by_id[900]).all()
    assert (numbers[0] == by_id[5]).all()
    assert 0 not in by_id  # no pixel is of no object, and that entry is left out
