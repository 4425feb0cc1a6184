"""K2: numbers in label maps are not bytes, and no class has the number that is ignored."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations, Resize
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_ssprompt.cache import EmbeddedSample
from mmseg_ssprompt.cache import embedded_dataset as embedded
from mmseg_ssprompt.datasets import DatasetError, LoadLabelMap, ResizeWithLabels
from mmseg_ssprompt.datasets.few_shot_manifest import count_presence
from mmseg_ssprompt.datasets.label_settings import check_label_settings
from mmseg_ssprompt.evaluation import GroupedIoUMetric, check_metric
from mmseg_ssprompt.label_ids import IGNORED_16_BITS, LabelIds, resolve_label_ids
from mmseg_ssprompt.models.base.precomputed import EmbeddingPreProcessor
from own_photographs import draw_photograph, make_photographs, own_config, save
from tiny_model import build_tiny, random_images, samples_of, tiny_config

MANY = tuple(f'thing {i}' for i in range(300))
CUT_OUT = dict(type='RandomCutOut', prob=1.0, n_holes=2, cutout_shape=(8, 8))
LOADER = dict(type='LoadLabelMap', ignore_index=65535)


@pytest.mark.parametrize(
    ('num_classes', 'ignored', 'dtype'),
    [(2, 255, np.uint8), (254, 255, np.uint8), (255, 255, np.uint8), (256, 65535, np.uint16)]
    + [(257, 65535, np.uint16), (847, 65535, np.uint16), (65535, 65535, np.uint16)],
)
def test_no_class_has_the_number_that_is_ignored(num_classes, ignored, dtype):
    ids = resolve_label_ids(num_classes)
    assert (ids.ignore_index, ids.dtype) == (ignored, dtype)
    assert ignored not in ids.counted


@pytest.mark.parametrize(
    ('settings', 'text'),
    [
        (dict(num_classes=65536), 'num_classes: expected a whole number from 1 to 65535'),
        (dict(num_classes=0), 'num_classes: expected a whole number from 1'),
        (dict(num_classes=2.0), 'num_classes: expected a whole number'),
        (dict(num_classes=300, ignore_index=255), 'ignore_index is 255, which .* a class'),
        (dict(num_classes=256, ignore_index=255), 'Leave ignore_index out, and it is 65535'),
        (dict(num_classes=2, ignore_index=0), 'set reduce_zero_label=True'),
        (dict(num_classes=2, ignore_index=-100), 'ignore_index: expected a whole number from 0'),
        (dict(num_classes=2, rest_id=0), 'expected rest_id with num_classes=1 alone'),
        (dict(num_classes=1), 'Set decode_head.rest_id=0 if label maps hold 1'),
        (dict(num_classes=1, rest_id=1), 'rest_id: expected 0'),
        (dict(num_classes=1, rest_id=255, ignore_index=255), 'also use for the rest'),
        (dict(num_classes=1, rest_id=255, ignore_index=1), 'ignore_index is 1'),
    ],
)
def test_numbers_that_contradict_each_other(settings, text):
    with pytest.raises(ValueError, match=text):
        resolve_label_ids(**settings)


# Reading


def load(labels: np.ndarray, folder: Path, record: Any = (), **settings: Any) -> Any:
    sample = dict(seg_map_path=str(save(labels, folder / 'map.png')), seg_fields=[])
    sample.update(dict(dict(label_map=None, reduce_zero_label=False), **dict(record)))
    return LoadLabelMap(**settings)(sample)['gt_seg_map']


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 255, 1: 0, 3: 1}])
def test_equal_to_mmseg_s_loader_in_bytes(tmp_path, label_map, reduce_zero_label):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    record = dict(label_map=label_map, reduce_zero_label=reduce_zero_label)
    found = load(labels, tmp_path, record)
    sample = dict(seg_map_path=str(tmp_path / 'map.png'), seg_fields=[], **record)
    expected = LoadAnnotations()(sample)['gt_seg_map']
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype == np.uint8


@pytest.mark.parametrize('number', [0, 254, 255, 256, 287, 846, 65534, 65535])
def test_numbers_of_16_bits_are_read(tmp_path, number):
    found = load(np.full((3, 4), number, np.uint16), tmp_path, ignore_index=65535)
    assert found.dtype == np.uint16
    assert (found == number).all()


def test_reduce_zero_label_without_bytes(tmp_path):
    labels = np.array([[0, 1, 255, 256, 847, 65535]], np.uint16).repeat(2, 0)
    found = load(labels, tmp_path, dict(reduce_zero_label=True), ignore_index=65535)
    assert found[0].tolist() == [65535, 0, 254, 255, 846, 65535]


def test_masks_of_0_and_255(tmp_path):
    labels = np.array([[0, 255]], np.uint8).repeat(2, 0)
    assert load(labels, tmp_path, label_map={0: 0, 255: 1})[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ('values', 'settings', 'text'),
    [
        (np.full((2, 2), 300, np.uint16), {}, r'from 0 to 255, found \[300\].*LoadLabelMap'),
        (np.full((2, 2), 0.5, np.float32), {}, r'whole numbers .*found \[0.5\] \(float32\)'),
        (np.full((2, 2), -1, np.int32), LOADER, r'whole numbers .*found \[-1\]'),
        (np.zeros((2, 2, 3), np.uint8), {}, 'colours must be converted'),
    ],
)
def test_files_that_hold_something_else(tmp_path, values, settings, text):
    file = tmp_path / 'map.tiff'
    Image.fromarray(values).save(file)
    loader = LoadLabelMap(**{k: v for k, v in settings.items() if k != 'type'})
    with pytest.raises(DatasetError, match=f'map.tiff.*{text}'):
        loader(dict(seg_map_path=str(file)))


@pytest.mark.parametrize('label_map', [{0: 70000}, {-1: 0}, {0: 'a'}, {0.5: 1}])
def test_label_maps_of_no_numbers(label_map):
    with pytest.raises(ValueError, match='LoadLabelMap.label_map: expected whole numbers'):
        LoadLabelMap(label_map=label_map)


@pytest.mark.parametrize('keep_ratio', [True, False])
def test_resized_labels_of_16_bits_are_those_of_8(keep_ratio):
    image, labels = draw_photograph(size=(50, 70))
    resize = ResizeWithLabels(scale=(31, 24), keep_ratio=keep_ratio, backend='pillow')
    narrow = resize(dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map']))
    wide = labels.astype(np.uint16) * 40000
    found = resize(dict(img=image, gt_seg_map=wide, seg_fields=['gt_seg_map']))
    assert found['gt_seg_map'].dtype == np.uint16
    np.testing.assert_array_equal(found['gt_seg_map'], narrow['gt_seg_map'] * np.uint16(40000))


def test_the_resize_of_mmcv_refuses_wide_labels_itself():
    """So that no check of ours is needed: it ends when samples are packed."""
    image, labels = draw_photograph()
    results = dict(img=image, gt_seg_map=labels.astype(np.uint16), seg_fields=['gt_seg_map'])
    with pytest.raises(AssertionError, match='only support uint8'):
        Resize(scale=(9, 9), backend='pillow')(results)


# Settings of the data


def build_dataset(pipeline: list, **settings: Any) -> BaseSegDataset:
    with DefaultScope.overwrite_default_scope('mmseg'):
        settings.setdefault('metainfo', dict(classes=MANY))
        kind = settings.pop('type', 'BaseSegDataset')
        return DATASETS.build(dict(type=kind, lazy_init=True, pipeline=pipeline, **settings))


@pytest.mark.parametrize(
    ('pipeline', 'settings', 'ids', 'text'),
    [
        ([dict(type='LoadAnnotations')], {}, resolve_label_ids(300), 'bytes .*LoadLabelMap'),
        (
            [dict(type='LoadAnnotations')],
            dict(reduce_zero_label=True),
            resolve_label_ids(255),
            '255 classes and reduce_zero_label.*ignore_index=65535',
        ),
        (
            [LOADER, dict(type='RandomRotate', prob=1.0, degree=9)],
            {},
            resolve_label_ids(300),
            r'RandomRotate uses the number 255 \(seg_pad_val\) .* is 65535',
        ),
        (
            [dict(type='LoadAnnotations'), dict(type='Pad', size=(9, 9))],
            {},
            resolve_label_ids(1, rest_id=255),
            r"Pad uses the number 255 \(pad_val\['seg'\]\)",
        ),
        (
            [LOADER, dict(type='Pad', size=(9, 9), pad_val=dict(img=0))],
            {},
            resolve_label_ids(300),
            r"Pad uses the number 255 \(pad_val\['seg'\]\)",
        ),
        (
            [dict(type='LoadAnnotations'), dict(CUT_OUT, seg_fill_in=7)],
            {},
            resolve_label_ids(2),
            r'RandomCutOut uses the number 7 \(seg_fill_in\) .* is 255. Set seg_fill_in to 255 in '
            'RandomCutOut',
        ),
        (
            [dict(type='LoadAnnotations'), dict(type='RandomCrop', crop_size=9, cat_max_ratio=0.7)],
            {},
            LabelIds(3, 7),
            'RandomCrop.*ignore_index',
        ),
        (
            [dict(type='LoadAnnotations')],
            dict(type='CityscapesDataset', metainfo=dict(classes=('sky',))),
            resolve_label_ids(1, rest_id=0),
            'Set decode_head.rest_id=255',
        ),
        (
            [dict(type='LoadLabelMap', ignore_index=9)],
            {},
            resolve_label_ids(3),
            'number 9 .ignore_index., but decode_head.ignore_index is 255',
        ),
        ([], dict(metainfo=dict(classes=('a',), rest_id=255)), LabelIds(1, 255, 0), 'rest_id'),
    ],
)
def test_settings_that_change_numbers(pipeline, settings, ids, text):
    dataset = build_dataset(pipeline, **dict(settings))
    with pytest.raises(DatasetError, match=f'^the training data set.*{text}'):
        check_label_settings(dataset, ids, 'training')


@pytest.mark.parametrize(
    ('pipeline', 'ids'),
    [
        ([dict(type='LoadAnnotations'), dict(type='Pad', size=(9, 9))], resolve_label_ids(2)),
        ([dict(type='LoadAnnotations')], resolve_label_ids(1, rest_id=255)),
        *(
            ([dict(type='LoadAnnotations'), dict(CUT_OUT, seg_fill_in=number)], ids)
            for number, ids in (
                (255, resolve_label_ids(2)),
                (0, resolve_label_ids(2)),
                (None, resolve_label_ids(2)),
                (0, resolve_label_ids(1, rest_id=0)),
            )
        ),
        (
            [LOADER, dict(type='ResizeWithLabels', scale=(9, 9), backend='pillow')],
            resolve_label_ids(300),
        ),
        (
            [LOADER, dict(type='RandomRotate', prob=1.0, degree=9, seg_pad_val=65535)],
            resolve_label_ids(300),
        ),
        (
            [dict(type='Resize', scale=(9, 9), backend='pillow'), LOADER],
            resolve_label_ids(300),
        ),
    ],
)
def test_settings_that_keep_numbers(pipeline, ids):
    check_label_settings(build_dataset(pipeline), ids, 'training')


def test_classes_are_counted_in_label_maps_of_16_bits(tmp_path):
    make_photographs(tmp_path, count=2, ids=(255, 287))
    dataset = build_dataset(
        [LOADER],
        data_root=str(tmp_path),
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        img_suffix='.png',
    )
    presence = count_presence(dataset)
    assert [np.flatnonzero(row).tolist() for row in presence] == [[255, 287], [255, 287]]


# Padding


def pad(model: Any, labels: torch.Tensor) -> torch.Tensor:
    sample = SegDataSample(gt_sem_seg=PixelData(data=labels[None]))
    image = torch.zeros(3, *labels.shape)
    batch = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]), True)
    return batch['data_samples'][0].gt_sem_seg.data[0]


def many_classes_config() -> Config:
    return tiny_config(num_classes=300, semantic_prompts=dict(dataset=None, class_names=MANY))


def test_padding_has_the_number_that_is_ignored():
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(many_classes_config().model)
    padded = pad(model, torch.full((96, 50), 255))
    assert padded[:, :50].unique().tolist() == [255]
    assert padded[:, 50:].unique().tolist() == [65535]


def test_padding_of_an_embedding_cache_has_it_too():
    preprocessor = EmbeddingPreProcessor()
    preprocessor.seg_pad_val = IGNORED_16_BITS
    sample = SegDataSample(metainfo=dict(padding_size=(0, 2, 0, 1)))
    sample.gt_sem_seg = PixelData(data=torch.full((1, 3, 4), 255))
    batch = preprocessor(
        dict(inputs=dict(embedding=[torch.zeros(1, 2, 2)]), data_samples=[sample]), True
    )
    expected = torch.full((4, 6), 65535)
    expected[:3, :4] = 255
    assert torch.equal(batch['data_samples'][0].gt_sem_seg.data[0], expected)


def test_label_maps_leave_an_embedding_cache_without_padding():
    labels = torch.full((1, 4, 6), 255, dtype=torch.uint8)
    labels[:, :3, :4] = torch.arange(12).view(3, 4)
    meta = dict(padding_size=(0, 2, 0, 1))
    features = dict(embedding=torch.zeros(1, 2, 2))
    packed = embedded._pack(EmbeddedSample(features, labels, meta), None)
    found = packed['data_samples'].gt_sem_seg.data
    assert torch.equal(found, torch.arange(12).view(1, 3, 4))


def test_padding_does_not_count_whatever_the_preprocessor_says():
    config = many_classes_config()
    config.model.data_preprocessor.seg_pad_val = 255
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model)
    assert model.data_preprocessor.seg_pad_val == 65535


# Measuring and writing


def evaluate(labels: Any, predicted: Any, ids: LabelIds, folder: Any = None, **meta: Any) -> dict:
    metric = GroupedIoUMetric(output_dir=None if folder is None else str(folder))
    metric.dataset_meta = dict(dict(classes=MANY[: ids.num_classes]), **meta)
    sample = dict(
        gt_sem_seg=dict(data=torch.tensor([labels])),
        pred_sem_seg=dict(data=torch.tensor([predicted])),
        img_path='some/picture.png',
        label_ids=ids,
    )
    metric.process({}, [sample])
    return metric.evaluate(1)


def test_class_255_counts_in_the_metric(tmp_path):
    labels, predicted = [[255, 255, 287, 65535]], [[255, 287, 287, 255]]
    metrics = evaluate(labels, predicted, resolve_label_ids(300), tmp_path)
    assert metrics['IoU.thing 255'] == pytest.approx(50)
    assert metrics['IoU.thing 287'] == pytest.approx(50)
    assert metrics['mIoU'] == pytest.approx(50)
    written = np.asarray(Image.open(tmp_path / 'picture.png'))
    assert written.tolist() == [[255, 287, 287, 255]]
    assert written.dtype == np.uint16


def test_every_class_of_847_has_a_figure_of_its_own():
    numbers = list(range(847))
    names = [f'class {i}' for i in numbers]
    shifted = [*numbers[:-1], 0]
    metrics = evaluate([numbers], [shifted], resolve_label_ids(847), classes=names)
    assert metrics['IoU.class 846'] == 0
    assert metrics['IoU.class 0'] == pytest.approx(50)
    assert all(metrics[f'IoU.class {i}'] == 100 for i in range(1, 846))


def test_an_evaluator_that_ignores_another_number():
    metric = GroupedIoUMetric(ignore_index=255)
    with pytest.raises(ValueError, match='ignore_index is 255, but .* is 65535. Leave it out'):
        check_metric(metric, resolve_label_ids(300))
    check_metric(metric, resolve_label_ids(255))
    check_metric(GroupedIoUMetric(), resolve_label_ids(300))


@pytest.mark.parametrize(
    ('ids', 'text'),
    [
        (resolve_label_ids(300), 'writes bytes, which do not hold 300 classes'),
        (resolve_label_ids(1, rest_id=0), r'knows no rest, which has the number 0'),
        (LabelIds(3, 9), 'ignores pixels of the number 255, but decode_head.ignore_index is 9'),
    ],
)
def test_mmseg_s_own_metric_is_refused_where_it_would_be_wrong(ids, text):
    with pytest.raises(ValueError, match=f"{text}.*Use dict\\(type='GroupedIoUMetric'\\)"):
        check_metric(IoUMetric(), ids)
    check_metric(IoUMetric(), resolve_label_ids(255))


# From files to files


@pytest.fixture(scope='module')
def many(tmp_path_factory) -> Config:
    """Photographs of classes 255 and 846 of 847, and a config for them."""
    root = make_photographs(tmp_path_factory.mktemp('many'), ids=(255, 846))
    cfg = own_config(root, [f'thing {i}' for i in range(847)], img_suffix='.png')
    for split in ('train', 'val', 'test'):
        for transform in cfg[f'{split}_dataloader'].dataset.pipeline:
            if transform.type == 'LoadAnnotations':
                transform.update(LOADER)
            elif transform.type == 'Resize':
                transform.type = 'ResizeWithLabels'
    cfg.test_evaluator.output_dir = str(root / 'predictions')
    return cfg


def test_847_classes_from_files_to_files(many):
    runner = Runner.from_cfg(many)
    runner.train()
    assert runner.iter == 2
    metrics = runner.test()
    assert {'mIoU', 'IoU.thing 255', 'IoU.thing 846'} <= metrics.keys()
    written = np.asarray(Image.open(Path(many.test_evaluator.output_dir) / '0.png'))
    assert written.dtype == np.uint16
    assert written.shape == (48, 64)
    assert written.max() < 847


def test_predictions_say_which_numbers_they_have():
    model = build_tiny()
    (sample,) = model(random_images(1), samples_of(torch.zeros(1, 96, 96)), mode='predict')
    assert sample.metainfo['label_ids'] == LabelIds(10, 255, None)
    assert 'label_ids' in sample.to_dict()


def test_tests_pipelines_keep_numbers_through_flips():
    labels = np.array([[287, 0], [65535, 256]], np.uint16)
    with DefaultScope.overwrite_default_scope('mmseg'):
        flip = Compose([dict(type='RandomFlip', prob=1.0), dict(type='PackSegInputs')])
    results = dict(img=np.zeros((2, 2, 3), np.uint8), gt_seg_map=labels, seg_fields=['gt_seg_map'])
    packed = flip(results)['data_samples'].gt_sem_seg.data
    assert packed.tolist() == [[[0, 287], [256, 65535]]]
