"""What fit makes of files in COCO's formats."""

import json
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest
from mmseg.registry import DATASETS, TRANSFORMS

from fit_trees import CLASSES, SIZE, draw, make_coco, make_panoptic, runs_of
from mmseg_ssprompt.datasets.checks import DatasetError
from mmseg_ssprompt.fitting.fit_data import FitData
from mmseg_ssprompt.fitting.photographs import find_photographs


def find(root: Path, **arguments: Any) -> FitData:
    file = 'panoptic.json' if (root / 'panoptic').is_dir() else 'objects.json'
    defaults: Dict[str, Any] = dict(images=root / 'photos', coco=root / file, out=root / 'out')
    return find_photographs(**{**defaults, **arguments})


def load(data: FitData, index: int) -> Dict[str, Any]:
    pipeline = [TRANSFORMS.build(dict(type='LoadImageFromFile')), TRANSFORMS.build(data.loader())]
    return DATASETS.build(dict(data.dataset(), pipeline=pipeline))[index]


def change(file: Path, how: Callable[[Dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    how(content)
    file.write_text(json.dumps(content))


def test_label_maps_of_objects_and_regions_are_those_that_were_drawn(tmp_path):
    data = find(make_coco(tmp_path))
    assert data.classes == list(CLASSES)
    assert any('Categories without any annotation are no classes: objects' in n for n in data.notes)
    for number in range(6):
        np.testing.assert_array_equal(load(data, number)['gt_seg_map'], draw(number)[1])
    assert data.ignored_share == 0 and data.coco is None


@pytest.mark.parametrize('classes', [None, 'car', ['car', 'background']])
def test_what_no_object_covers(tmp_path, classes):
    data = find(make_coco(tmp_path, regions=False), classes=classes)
    labels = load(data, 2)['gt_seg_map']
    is_car = draw(2)[1] == 2
    if classes == ['car', 'background']:
        assert data.classes == classes
        np.testing.assert_array_equal(labels, 1 - is_car)
    else:
        assert data.classes == ['car'] and data.rest_id == 0
        np.testing.assert_array_equal(labels, is_car)


@pytest.mark.parametrize(('rows', 'ignore'), [(1, None), (6, None), (6, 'background')])
def test_gaps_are_ignored_and_much_is_a_class(tmp_path, rows, ignore):
    make_coco(tmp_path)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    gap = (y < rows) & (x < SIZE[1] // 2)  # 2.5 % of the pixels, or 15 %

    def cut(content):
        for each in content['annotations']:
            if each['category_id'] == 10:
                each['segmentation'] = runs_of((y < SIZE[0] // 2) & ~gap)

    change(tmp_path / 'objects.json', cut)
    data = find(tmp_path, ignore=ignore)
    labels = load(data, 0)['gt_seg_map']
    is_class = rows == 6 and ignore is None
    assert data.classes == [*CLASSES, *['background'] * is_class]
    assert set(labels[gap].tolist()) == {3 if is_class else 255}
    np.testing.assert_array_equal(labels[~gap], draw(0)[1][~gap])
    assert any('belong to no object' in note for note in data.notes)


def test_some_categories_and_ignored_ones(tmp_path):
    data = find(make_coco(tmp_path), classes='car,road', ignore='sky')
    labels = load(data, 1)['gt_seg_map']
    np.testing.assert_array_equal(labels, np.array([255, 1, 0])[draw(1)[1]])


def test_objects(tmp_path):
    data = find(make_coco(tmp_path), task='instance', classes='car')
    assert data.thing_classes == ['car'] and data.pictures[0].objects == {'car': 1}
    sample = load(data, 3)
    found = [info['category_id'] for info in sample['segments_info']]
    assert found == [-1, 0]
    np.testing.assert_array_equal(sample['gt_segment_map'] == 1, draw(3)[1] == 2)
    assert data.count()['car']['objects'] == 6


def test_panoptic_segments(tmp_path):
    data = find(make_panoptic(tmp_path), labels=tmp_path / 'panoptic', task='panoptic')
    assert data.classes == list(CLASSES) and data.thing_classes == ['car']
    assert data.pictures[0].objects == dict(sky=1, road=1, car=1)
    sample = load(data, 2)
    classes = np.array([info['category_id'] for info in sample['segments_info']])
    np.testing.assert_array_equal(classes[sample['gt_segment_map']], draw(2)[1])
    assert FitData.read(tmp_path / 'out') == data


def test_a_panoptic_class_that_is_not_asked_for_is_void(tmp_path):
    data = find(
        *(make_panoptic(tmp_path),),
        labels=tmp_path / 'panoptic',
        task='panoptic',
        classes=['car', 'road'],
    )
    assert data.void_classes == ['sky'] and data.ignored_share == pytest.approx(0.475)


def test_wrong_entries_are_named_and_the_rest_remains(tmp_path):
    make_coco(tmp_path, 10)

    def spoil(content):
        content['annotations'][0]['segmentation'] = [[1, 2, 3]]
        content['images'][1]['height'] += 1
        content['annotations'][6]['category_id'] = 99
        content['images'][3]['file_name'] = 'elsewhere.png'
        content['images'][4]['file_name'] = 'C:\\data\\04.png'

    change(tmp_path / 'objects.json', spoil)
    (tmp_path / 'photos' / '05.png').write_bytes(b'nothing')
    data = find(tmp_path)
    left = {each['file']: each['reason'] for each in data.left_out}
    assert set(left) == {'00.png', '01.png', '02.png', '05.png'}
    assert 'at least three points' in left['00.png']
    assert '21 x 28' in left['01.png'] and '20 x 28' in left['01.png']
    assert 'category_id 99' in left['02.png']
    assert 'cannot read image' in left['05.png']
    assert data.names() == ['04.png', *(f'{n:02d}.png' for n in range(6, 10))]
    notes = '\n'.join(data.notes)
    assert "'elsewhere.png'" in notes and 'without label, which are not used: 1' in notes


def test_the_file_that_is_written_has_the_used_pictures_alone(tmp_path):
    make_coco(tmp_path)
    (tmp_path / 'photos' / '05.png').write_bytes(b'nothing')
    data = find(tmp_path, task='instance', classes='car')
    content = json.loads(Path(data.coco).read_text())
    assert [each['file_name'] for each in content['images']] == data.names()
    assert len(content['annotations']) == 5
    assert {each['category_id'] for each in content['annotations']} == {30}


def test_files_that_do_not_fit(tmp_path):
    make_coco(tmp_path, 3)
    (tmp_path / 'broken.json').write_text('{"images": [')
    (tmp_path / 'other.json').write_text(
        (tmp_path / 'objects.json').read_text().replace('.png"', '.bmp"')
    )
    (tmp_path / 'none.json').write_text(json.dumps(dict(images=[], annotations=[], categories=[])))
    panoptic = make_panoptic(tmp_path / 'p', 3)
    for arguments, expected in (
        (dict(coco=tmp_path / 'missing.json'), '--coco: .*does not exist'),
        (dict(coco=tmp_path / 'broken.json'), 'expected a JSON file'),
        (dict(coco=tmp_path / 'none.json'), 'found no categories'),
        (dict(coco=tmp_path / 'other.json'), "such as '00.bmp'. Give the folder"),
        (dict(classes='car,tree'), r"found \['tree'\]"),
        (dict(classes='car', ignore='car'), 'expected different categories'),
        (dict(classes='30=car'), 'expected names of categories'),
        (dict(classes='objects,car'), "'objects' have no pixels"),
        (dict(task='panoptic'), '--task panoptic needs'),
        (dict(labels=tmp_path / 'photos'), 'give one of them'),
        (
            dict(task='panoptic', labels=tmp_path / 'photos'),
            "COCO's format of objects: give --task instance or semantic",
        ),
        (
            dict(images=panoptic / 'photos', coco=panoptic / 'panoptic.json'),
            'give --task panoptic, and --labels DIR',
        ),
    ):
        with pytest.raises(DatasetError, match=expected):
            find(tmp_path, **arguments)
