"""K objects of each class: the same ones everywhere, and all others are void."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
from mmseg.registry import DATASETS

import segment_trees as trees
from mmseg_ssprompt.datasets import DatasetError, FewShotDataset
from mmseg_ssprompt.datasets.few_shot_manifest import make_manifest, read_manifest
from mmseg_ssprompt.datasets.few_shot_objects import FoundObject, draw_objects
from picture_files import CLASSES, dataset_config, encode, write_pairs

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSegments'),
    dict(type='PackSegmentInputs'),
]
SCENES = dict(type='ShapesWorldDataset', num_images=24, pipeline=PIPELINE)
THINGS = dict(SCENES, type='ShapesWorldInstanceDataset')


def build(dataset: Any = SCENES, **options: Any) -> FewShotDataset:
    settings = dict(dict(shots=2, unit='objects'), **options)
    return DATASETS.build(dict(settings, type='FewShotDataset', dataset=dict(dataset)))


def objects_of(dataset: Any) -> Counter:
    """How many objects of each class samples show; -1 is what is none."""
    infos = [
        info
        for index in range(len(dataset))
        for info in dataset[index]['data_samples'].gt_segments.segments_info
    ]
    return Counter(info['category_id'] for info in infos)


def found(per_image: Any) -> list:
    """Objects by image: classes, whose place is the id."""
    return [
        FoundObject(image, class_id, 10 * image + place)
        for image, classes in enumerate(per_image)
        for place, class_id in enumerate(classes)
    ]


def test_a_written_down_draw():
    """The same on every machine and with every version of Python and numpy."""
    objects = found([[0, 0, 1], [0], [1, 1, 2], [0, 2], [1]])
    names = [f'{index:03d}.png' for index in range(5)]
    assert draw_objects(objects, 2, 1, names) == WRITTEN[1]
    assert draw_objects(objects, 2, 2, names) == WRITTEN[2]
    shuffled = [objects[i] for i in np.random.default_rng(0).permutation(len(objects))]
    assert draw_objects(shuffled, 2, 1, names) == WRITTEN[1]


WRITTEN: Dict[int, Any] = {
    1: {0: [0, 1], 2: [20, 22], 3: [31], 4: [40]},
    2: {0: [1], 1: [10], 2: [21, 22], 3: [31], 4: [40]},
}


@pytest.mark.parametrize('shots', [1, 3, 100])
def test_each_class_has_k_objects_or_all(shots):
    objects = found([[0, 0, 1], [0], [1, 1, 2], [0, 2], [1]])
    drawn = draw_objects(objects, shots, 1, [str(index) for index in range(5)])
    classes = {each.segment_id: each.class_id for each in objects}
    counts = Counter(classes[segment_id] for ids in drawn.values() for segment_id in ids)
    assert counts == {c: min(shots, n) for c, n in {0: 4, 1: 4, 2: 2}.items()}


@pytest.mark.parametrize('dataset', [pytest.param(SCENES, marks=pytest.mark.slow), THINGS])
def test_samples_show_only_drawn_objects(dataset):
    few = build(dataset, shots=3)
    counts = objects_of(few)
    assert {counts[c] for c in range(len(few.metainfo['classes']))} == {3}
    assert few.drawn['counts'] == dict.fromkeys(few.metainfo['classes'], 3)
    assert few.drawn['incomplete'] == {}
    assert len(few) <= 24


def test_other_objects_are_void():
    whole, few = DATASETS.build(dict(THINGS)), build(THINGS, shots=1)
    by_id = {whole.get_data_info(index)['img_id']: index for index in range(len(whole))}
    dropped = 0
    for index in range(len(few)):
        record = few.get_data_info(index)
        ours = few[index]['data_samples'].gt_segments
        true = whole[by_id[record['img_id']]]['data_samples'].gt_segments
        numbers, expected = ours.data[0].numpy(), true.data[0].numpy()
        kept = {info['id']: number for number, info in enumerate(ours.segments_info)}
        for number, info in enumerate(true.segments_info):
            is_kept = info['category_id'] == -1 or info['id'] in record['segments']['kept']
            dropped += not is_kept
            place = kept[info['id']] if is_kept else -1
            assert (numbers[expected == number] == place).all()
    assert dropped > 0


def test_images_of_a_data_set_with_objects():
    """The other unit: images that show a class, with all that is in them."""
    few = build(SCENES, unit='images', shots=2)
    assert few.drawn['unit'] == 'images'
    assert set(few.drawn['counts'].values()) == {2}
    assert all('kept' not in few.get_data_info(i)['segments'] for i in range(len(few)))
    whole = DATASETS.build(dict(SCENES))
    paths = {few.get_data_info(i)['img_path'] for i in range(len(few))}
    infos = sum(
        len(whole[i]['data_samples'].gt_segments.segments_info)
        for i in range(len(whole))
        if whole.get_data_info(i)['img_path'] in paths
    )
    assert sum(objects_of(few).values()) == infos


def test_manifest_is_written_and_used(tmp_path):
    file = tmp_path / 'a' / 'draw.json'
    first = build(manifest=str(file))
    manifest = read_manifest(file)
    assert manifest == first.drawn
    assert manifest['unit'] == 'objects'
    assert all(row['objects'] == sorted(row['objects']) for row in manifest['images'])
    assert sum(len(row['objects']) for row in manifest['images']) == 2 * 10
    second = build(manifest=str(file))
    records = [[d.get_data_info(i) for i in range(len(d))] for d in (first, second)]
    assert records[0] == records[1]


def edit(file: Path, change: Any) -> None:
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def test_manifest_chooses_the_objects(tmp_path):
    file = tmp_path / 'draw.json'
    few = build(manifest=str(file))
    kept = few.drawn['images'][0]['objects'][:1]
    edit(file, lambda m: m['images'].__setitem__(0, dict(m['images'][0], objects=kept)))
    infos = build(manifest=str(file))[0]['data_samples'].gt_segments.segments_info
    assert [info['id'] for info in infos] == kept


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda m: m['images'][0].pop('objects'), r'images\[0\].objects: expected a list of ids'),
        (lambda m: m['images'][0].update(objects=[]), r'images\[0\].objects: expected a list'),
        (lambda m: m['images'][0].update(objects=['a']), r'images\[0\].objects: expected a list'),
        (lambda m: m.update(unit='images'), "unit: expected 'objects', found 'images'"),
        (lambda m: m.pop('unit'), "unit: expected 'objects', found None"),
    ],
)
def test_edited_manifest(tmp_path, change, message):
    file = tmp_path / 'draw.json'
    build(manifest=str(file))
    edit(file, change)
    with pytest.raises(DatasetError, match=message):
        build(manifest=str(file))


def test_objects_that_are_not_in_their_picture(tmp_path):
    file = tmp_path / 'draw.json'
    build(manifest=str(file))
    edit(file, lambda m: m['images'][0].update(objects=[123456]))
    with pytest.raises(DatasetError, match=r'found none with the ids \[123456\]. Draw again'):
        build(manifest=str(file))[0]


def test_crowds_and_small_objects_are_not_drawn(tmp_path):
    trees.make_cityscapes(tmp_path)
    config = dict(
        type='CityscapesInstanceDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=PIPELINE,
    )
    dataset = DATASETS.build(config)
    manifest = make_manifest(dataset, 9, 1, unit='objects')
    assert manifest['counts'] == dict(
        dict.fromkeys(dataset.metainfo['classes'], 0), car=4, person=2
    )
    assert manifest['incomplete']['car'] == 4
    assert [row['objects'] for row in manifest['images']] == [[24002, 26000, 26001]] * 2
    fewer = make_manifest(dataset, 9, 1, min_pixels=50, unit='objects')
    assert [row['objects'] for row in fewer['images']] == [[24002]] * 2
    samples = build(config, shots=1)
    infos = [samples[i]['data_samples'].gt_segments.segments_info for i in range(len(samples))]
    assert not any(info['iscrowd'] for each in infos for info in each)


def test_several_parts(tmp_path):
    parts = [dict(SCENES, num_images=6), dict(SCENES, num_images=6, seed=1)]
    few = DATASETS.build(dict(type='FewShotDataset', dataset=parts, shots=2, unit='objects'))
    counts = objects_of(few)
    assert {counts[c] for c in range(10)} <= {1, 2}
    assert sum(counts.values()) == sum(few.drawn['counts'].values())


def test_data_sets_without_objects(tmp_path):
    pictures = np.zeros((2, 12, 16), np.uint8)
    write_pairs(tmp_path, (encode(pictures[0], 'PNG'), encode(pictures[1], 'PNG')))
    config = dataset_config(tmp_path, CLASSES)
    with pytest.raises(DatasetError, match=r"unit='objects'\): expected LoadSegments in its pip"):
        build(config)


def test_units():
    with pytest.raises(ValueError, match=r"unit: expected one of \['images', 'objects'\], found"):
        build(unit='pixels')
