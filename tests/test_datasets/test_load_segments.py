"""Objects stay true through flips, crops and resizes, and small leftovers go."""

from typing import Any, Dict, List

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmseg.registry import TRANSFORMS

import segment_trees as trees
from mmseg_ssprompt.datasets import DatasetError, LoadSegments, PackSegmentInputs
from mmseg_ssprompt.segments import NO_CLASS


def coarse(factor: int = 8) -> np.ndarray:
    """Ids of Cityscapes in squares, so that any resizing by a whole factor is exact."""
    small = np.array(
        [[26001, 26001, 26002, 7], [26001, 23, 26002, 7], [26, 23, 24000, 0]], np.uint16
    )
    return small.repeat(factor, 0).repeat(factor, 1)


@pytest.fixture
def record(tmp_path) -> Dict[str, Any]:
    """What a data set hands to its pipeline."""
    trees.write_image(tmp_path / 'image.png', (24, 32))
    trees.write_png(tmp_path / 'ids.png', coarse())
    segments = dict(
        kind='instance_ids',
        path=str(tmp_path / 'ids.png'),
        categories={0: -2, 7: 0, 23: 1, 24: 2, 26: 3},
        things=[2, 3],
        unlabelled=-2,
    )
    return dict(img_path=str(tmp_path / 'image.png'), segments=segments, seg_fields=[])


def run(record: Dict[str, Any], *steps: Any, **options: Any) -> Any:
    """The packed sample behind the steps."""
    load = [dict(type='LoadImageFromFile'), dict(type='LoadSegments')]
    pack = dict(type='PackSegmentInputs', **options)
    pipeline = Compose([TRANSFORMS.build(each) for each in (*load, *steps, pack)])
    return pipeline(record)['data_samples']


def ids_of(sample: Any) -> np.ndarray:
    """The ids of a sample's pixels, as the file has them; 0 is void."""
    ids = np.array([*(info['id'] for info in sample.gt_segments.segments_info), 0])
    return ids[sample.gt_segments.data[0].numpy()]


def test_as_loaded(record):
    sample = run(record)
    assert np.array_equal(ids_of(sample), coarse())
    by_id = {info['id']: info for info in sample.gt_segments.segments_info}
    assert by_id[26] == dict(id=26, category_id=3, iscrowd=1, area=64)
    assert by_id[26001] == dict(id=26001, category_id=3, iscrowd=0, area=192)
    assert sample.gt_segments.data.dtype.is_signed


@pytest.mark.parametrize(('direction', 'axis'), [('horizontal', 1), ('vertical', 0)])
def test_flips(record, direction, axis):
    sample = run(record, dict(type='RandomFlip', prob=1.0, direction=direction))
    assert np.array_equal(ids_of(sample), np.flip(coarse(), axis))


@pytest.mark.parametrize(
    ('kind', 'backend'),  # mmcv's Resize takes bytes only with Pillow
    [('Resize', 'cv2'), ('ResizeWithLabels', 'cv2'), ('ResizeWithLabels', 'pillow')],
)
@pytest.mark.parametrize('factor', [2, 4, 16])
def test_resizes(record, kind, backend, factor):
    step = dict(type=kind, scale=(4 * factor, 3 * factor), keep_ratio=True, backend=backend)
    assert np.array_equal(ids_of(run(record, step)), coarse(factor))


def test_seem_resize(record):
    step = dict(type='SEEMResize', min_size=12, max_size=100)
    assert np.array_equal(ids_of(run(record, step)), coarse(4))


def test_crops(record):
    np.random.seed(3)
    pipeline = Compose(
        [
            TRANSFORMS.build(each)
            for each in (
                dict(type='LoadImageFromFile'),
                dict(type='LoadSegments'),
                dict(type='RandomCrop', crop_size=(10, 12)),
            )
        ]
    )
    results = pipeline(record)
    sample = PackSegmentInputs()(dict(results))['data_samples']
    found = ids_of(sample)
    places = [
        (y, x)
        for y in range(15)
        for x in range(21)
        if np.array_equal(coarse()[y : y + 10, x : x + 12], found)
    ]
    assert places, 'no crop of the map'
    assert {info['id'] for info in sample.gt_segments.segments_info} == set(np.unique(found)) - {0}
    assert results['gt_segment_map'].shape == (10, 12)


def test_padding_is_void(record):
    """mmseg pads all maps with 255, which is never the number of an object."""
    pad = dict(type='Pad', size=(30, 40), pad_val=dict(img=0, seg=255))
    found = ids_of(run(record, pad))
    assert np.array_equal(found[:24, :32], coarse())
    assert not found[24:].any()
    assert not found[:, 32:].any()


@pytest.mark.parametrize('value', [255, 65535, 4000])
def test_what_is_filled_in_is_void(record, value):
    pad = dict(type='Pad', size=(30, 40), pad_val=dict(img=0, seg=value))
    assert not ids_of(run(record, pad))[24:].any()


def test_turning(record):
    step = dict(type='RandomRotate', prob=1.0, degree=(90, 90), seg_pad_val=255)
    found = ids_of(run(record, step))
    assert set(np.unique(found)) <= {*np.unique(coarse())}
    assert (found == 26002).any()


def test_three_hundred_objects(tmp_path):
    """More than fit besides 255 in a byte, and each keeps its pixels."""
    ids = (26000 + np.arange(600).reshape(20, 30) // 2).astype(np.uint16)
    trees.write_image(tmp_path / 'image.png', (20, 30))
    trees.write_png(tmp_path / 'ids.png', ids)
    segments = dict(
        kind='instance_ids',
        path=str(tmp_path / 'ids.png'),
        categories={26: 0},
        things=[0],
        unlabelled=-2,
    )
    sample = run(dict(img_path=str(tmp_path / 'image.png'), segments=segments, seg_fields=[]))
    assert np.array_equal(ids_of(sample), ids)
    assert len(sample.gt_segments.segments_info) == 300


def crop_to(sample: Dict[str, Any], rows: int) -> Dict[str, Any]:
    for key in ('img', 'gt_segment_map'):
        sample[key] = sample[key][:rows]
    return sample


def pack_first_rows(record: Dict[str, Any], rows: int, **options: Any) -> Any:
    load = Compose([TRANSFORMS.build(dict(type='LoadImageFromFile')), LoadSegments()])
    return PackSegmentInputs(**options)(crop_to(load(record), rows))['data_samples']


def kept_ids(sample: Any) -> List[int]:
    return [info['id'] for info in sample.gt_segments.segments_info]


def test_objects_cropped_away_are_dropped(record):
    sample = pack_first_rows(record, 8)
    assert kept_ids(sample) == [7, 26001, 26002]
    assert np.array_equal(ids_of(sample), coarse()[:8])


def test_leftovers_are_void(record):
    """Two rows are left of the crowd and of the person, 16 pixels each."""
    assert kept_ids(pack_first_rows(record, 18, min_pixels=16)) == [7, 23, 26, 24000, 26001, 26002]
    sample = pack_first_rows(record, 18, min_pixels=17)
    assert kept_ids(sample) == [7, 23, 26001, 26002]
    expected = coarse()[:18].copy()
    expected[16:, :8] = expected[16:, 16:24] = 0
    assert np.array_equal(ids_of(sample), expected)


def test_segments_without_pixels_are_kept_on_demand(record):
    assert kept_ids(pack_first_rows(record, 8, min_pixels=0)) == [7, 23, 26, 24000, 26001, 26002]


@pytest.mark.parametrize('value', [-1, 1.5, True])
def test_min_pixels_is_a_count(value):
    with pytest.raises(ValueError, match='min_pixels: expected a whole number from 0 on'):
        PackSegmentInputs(min_pixels=value)


def test_label_map_of_segments(record):
    load = Compose([TRANSFORMS.build(dict(type='LoadImageFromFile')), LoadSegments(True)])
    sample = PackSegmentInputs()(load(record))['data_samples']
    table = np.full(30000, 255)
    table[[7, 23, 24000, 26, 26001, 26002]] = 0, 1, 2, 3, 3, 3
    assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), table[coarse()])


def test_what_is_no_object_is_ignored_in_the_label_map(record):
    record['segments'].update(categories={0: -2, 7: NO_CLASS, 23: NO_CLASS, 24: 0, 26: 1})
    load = Compose([TRANSFORMS.build(dict(type='LoadImageFromFile')), LoadSegments(True)])
    labels = load(record)['gt_seg_map']
    assert (labels[coarse() == 7] == 255).all()
    assert (labels[coarse() == 26001] == 1).all()


def test_labels_cannot_be_exchanged(record):
    flip = dict(type='RandomFlip', prob=1.0, swap_seg_labels=[(0, 1)])
    with pytest.raises(DatasetError, match='swap_seg_labels exchanges numbers'):
        run(record, flip)


def test_an_image_that_moves_alone(record):
    load = Compose([TRANSFORMS.build(dict(type='LoadImageFromFile')), LoadSegments()])
    results = load(record)
    results['img'] = results['img'][:10]
    results['gt_segment_map'] = results['gt_segment_map'][:9]
    with pytest.raises(DatasetError, match='expected segments of the size of the image, 10 x 32'):
        PackSegmentInputs()(results)
