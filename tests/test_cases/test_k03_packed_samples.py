"""What leaves a pipeline is looked at, not what the pipeline declares."""

import random
from typing import Any, Dict, List

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, TRANSFORMS

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.datasets.packed_checks import Frame, check_batch_sizes, check_packed
from mmseg_ssprompt.datasets.survey import Survey, survey_samples
from mmseg_ssprompt.label_ids import LabelIds
from own_photographs import NAMES, make_photographs, save

IMAGE, LABELS = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
PACK = dict(type='PackSegInputs')
RESIZE = dict(type='Resize', scale=(96, 96), keep_ratio=True)
FLIP = dict(type='RandomFlip', prob=0.5)
IDS = LabelIds(2)


@TRANSFORMS.register_module()
class OwnLabelLoader(BaseTransform):
    """A loader of label maps that derives from none of mmcv's."""

    def __init__(self, add: int = 0, dtype: str = 'uint8') -> None:
        self.add, self.dtype = add, dtype

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        labels = cv2.imread(results['seg_map_path'], cv2.IMREAD_UNCHANGED)
        results['gt_seg_map'] = (labels * self.add if self.add else labels).astype(self.dtype)
        results['seg_fields'] = ['gt_seg_map']
        return results


@TRANSFORMS.register_module()
class LoaderThatNamesNoField(OwnLabelLoader):
    """Does not say that there is a label map to be moved with the image."""

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        return dict(super().transform(results), seg_fields=[])


@TRANSFORMS.register_module()
class CropImageOnly(BaseTransform):
    """Forgets the label map."""

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        results['img'] = results['img'][:40]
        return results


@TRANSFORMS.register_module()
class Rescale(BaseTransform):
    """Another range of values."""

    def __init__(self, factor: float = 1 / 255, bad: bool = False) -> None:
        self.factor, self.bad = factor, bad

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        results['img'] = results['img'].astype(np.float32) * self.factor
        if self.bad:
            results['img'][0, 0] = np.nan
        return results


@TRANSFORMS.register_module()
class Nothing(BaseTransform):
    """Refuses each sample."""

    def transform(self, results: Dict[str, Any]) -> None:
        return None


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@pytest.fixture
def root(tmp_path):
    return make_photographs(tmp_path)


def config(root: Any, *pipeline: dict, **options: Any) -> Dict[str, Any]:
    return dict(
        dict(
            type='BaseSegDataset',
            data_root=str(root),
            data_prefix=dict(img_path='img', seg_map_path='ann'),
            img_suffix='.png',
            metainfo=dict(classes=NAMES),
            pipeline=list(pipeline),
        ),
        **options,
    )


def check(dataset: Any, training: bool = True, ids: LabelIds = IDS, **frame: Any) -> List[Any]:
    dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
    name = 'training' if training else 'validation'
    return check_packed(dataset, ids, name, training, Frame(**frame))


def fails(dataset: Any, training: bool = True, **frame: Any) -> str:
    with pytest.raises(DatasetError) as raised:
        check(dataset, training, **frame)
    return str(raised.value)


# Sizes


def test_pipelines_as_they_should_be(root):
    assert len(check(config(root, IMAGE, LABELS, RESIZE, FLIP, PACK))) == 3
    assert len(check(config(root, IMAGE, RESIZE, LABELS, PACK), training=False)) == 3


def test_resize_before_the_label_map_in_training(root):
    message = fails(config(root, IMAGE, RESIZE, LABELS, PACK))
    assert f'label map {str(root / "ann" / "0.png")!r} is 48 x 64 (height x width)' in message
    assert f'its image {str(root / "img" / "0.png")!r} is 72 x 96. ' in message
    assert 'Put LoadAnnotations before what changes sizes' in message


def test_resize_after_the_label_map_in_validation(root):
    message = fails(config(root, IMAGE, LABELS, RESIZE, PACK), training=False)
    assert 'is 72 x 96 (height x width) as it leaves the pipeline, but the original' in message
    assert 'is 48 x 64. Put LoadAnnotations after what changes sizes' in message


@pytest.mark.parametrize('prob', [0.3, 1.0])
def test_a_flip_before_the_label_map_in_training(root, prob):
    """Sizes say nothing of it, and it may not be drawn in the first samples."""
    message = fails(config(root, IMAGE, dict(FLIP, prob=prob), LABELS, PACK))
    assert (
        'expected LoadAnnotations (pipeline[2]) before RandomFlip (pipeline[1]), which' in message
    )
    assert 'label maps would not lie on their images' in message


def test_a_loader_that_names_no_field(root):
    """mmseg would flip the image alone; without a transform after it nothing is lost."""
    loader = dict(type='LoaderThatNamesNoField')
    survey_samples(Survey(NAMES), DATASETS.build(config(root, IMAGE, loader, PACK)), IDS, 10)
    dataset = DATASETS.build(config(root, IMAGE, loader, FLIP, PACK))
    with pytest.raises(DatasetError, match=r"expected 'gt_seg_map' in results\['seg_fields'\]"):
        survey_samples(Survey(NAMES), dataset, IDS, 10)


def test_a_flip_after_the_label_map_in_validation(root):
    """mmseg turns the prediction back, and not the label map."""
    message = fails(config(root, IMAGE, LABELS, FLIP, PACK), training=False)
    assert 'expected LoadAnnotations (pipeline[1]) after RandomFlip (pipeline[2]), which' in message
    assert 'label maps would not lie on the original images' in message


def test_colours_may_change_before_the_label_map(root):
    colours = dict(type='PhotoMetricDistortion')
    assert len(check(config(root, IMAGE, colours, LABELS, PACK))) == 3


def test_a_transform_that_forgets_the_label_map(root):
    message = fails(config(root, IMAGE, LABELS, dict(type='CropImageOnly'), PACK))
    assert 'is 48 x 64 (height x width) as it leaves the pipeline, but its image' in message
    assert 'is 40 x 64. ' in message and 'let each transform of your own change both' in message


@pytest.mark.parametrize(
    ('nest', 'place'),
    [
        (lambda steps: [dict(type='Compose', transforms=steps)], 'pipeline[1][0]'),
        (lambda steps: [dict(type='RandomChoice', transforms=[steps])], 'pipeline[1].transforms'),
        (lambda steps: [dict(type='RandomApply', transforms=steps, prob=1.0)], 'pipeline[1].tra'),
    ],
)
def test_transforms_inside_of_others(root, nest, place):
    message = fails(config(root, IMAGE, *nest([FLIP]), LABELS, PACK))
    assert f'before RandomFlip ({place}' in message


def test_transforms_of_wrappers(root):
    inner = config(root, IMAGE, LABELS)
    mixed = dict(
        type='MultiImageMixDataset',
        dataset=dict(type='ConcatDataset', datasets=[inner, inner]),
        pipeline=[
            dict(type='RandomMosaic', prob=1.0, img_scale=(48, 64)),
            dict(type='CropImageOnly'),
            PACK,
        ],
    )
    assert 'is 96 x 128 (height x width) as it leaves the pipeline, but its image' in fails(mixed)
    del mixed['pipeline'][1]
    assert len(check(mixed)) == 3


def test_each_part_of_several(root):
    good, bad = config(root, IMAGE, LABELS, PACK), config(root, IMAGE, RESIZE, LABELS, PACK)
    repeated = dict(type='RepeatDataset', times=2, dataset=bad)
    both = dict(type='ConcatDataset', datasets=[good, repeated])
    assert 'Put LoadAnnotations before what changes sizes' in fails(both)
    both['datasets'][1]['dataset'] = good
    assert len(check(both)) == 6


def test_views_of_test_time_augmentation(root):
    def views(*middle: Any) -> Dict[str, Any]:
        flips = [dict(FLIP, prob=0.0), dict(FLIP, prob=1.0)]
        lists = [[RESIZE], flips, *middle, [PACK]]
        return config(root, IMAGE, dict(type='TestTimeAug', transforms=lists))

    assert len(check(views([LABELS]), training=False)) == 6
    message = fails(views([LABELS], [RESIZE | dict(scale=(48, 48))]), training=False)
    assert 'Put LoadAnnotations after what changes sizes' in message
    message = fails(config(root, IMAGE, LABELS, *views()['pipeline'][1:]), training=False)
    assert 'after RandomFlip (pipeline[2].transforms[1])' in message
    lists = views([LABELS])['pipeline'][1]['transforms']
    lists[-1] = [dict(PACK, meta_keys=('img_path', 'ori_shape', 'img_shape'))]
    message = fails(config(root, IMAGE, dict(type='TestTimeAug', transforms=lists)), training=False)
    assert "['flip', 'flip_direction'] are not there" in message


# Ids, types and ranges


def test_ids_of_a_loader_of_ones_own(root):
    pipeline = [IMAGE, dict(type='OwnLabelLoader', add=3), PACK]
    assert 'found [3] in' in fails(config(root, *pipeline))
    dataset = DATASETS.build(config(root, *pipeline))
    with pytest.raises(DatasetError, match=r'found \[3\] in'):  # also beyond the first samples
        survey_samples(Survey(NAMES), dataset, IDS, 10)


def test_ids_with_test_time_augmentation(tmp_path):
    root = make_photographs(tmp_path, ids=(0, 3))
    views = dict(type='TestTimeAug', transforms=[[RESIZE], [LABELS], [PACK]])
    dataset = DATASETS.build(config(root, IMAGE, views))
    with pytest.raises(DatasetError, match=r"ann/0\.png'.*found \[3\]"):
        survey_samples(Survey(NAMES), dataset, IDS, 10)
    assert 'found [3] in' in fails(dataset, training=False)


def test_labels_that_are_no_integers(root):
    message = fails(config(root, dict(type='OwnLabelLoader', dtype='float32'), IMAGE))
    assert "expected 'inputs' and 'data_samples' from the pipeline" in message
    dataset = DATASETS.build(
        config(root, IMAGE, dict(type='OwnLabelLoader', dtype='float32'), PACK)
    )
    with pytest.raises(DatasetError, match='expected ids as whole numbers, found float32'):
        survey_samples(Survey(NAMES), dataset, IDS, 10)


@pytest.mark.parametrize(
    ('step', 'found'),
    [
        (dict(type='Rescale'), '0.157 to 0.863'),
        (dict(type='Rescale', factor=9.0), '360 to 1.98e+03'),
        (dict(type='Normalize', mean=[100.0] * 3, std=[50.0] * 3), '-1.2 to 2.4'),
    ],
)
def test_values_that_are_scaled_twice(root, step, found):
    pipeline = [IMAGE, LABELS, step, PACK]
    message = fails(config(root, *pipeline), normalises=True)
    assert (
        'expected values from 0 to 255, as model.data_preprocessor.mean and std say, found '
        f'{found}' in message
    )
    assert len(check(config(root, *pipeline))) == 3  # without a mean it may be meant


def test_values_that_are_no_numbers(root):
    step = dict(type='Rescale', factor=1.0, bad=True)
    assert '3 of 9216 values are NaN' in fails(config(root, IMAGE, LABELS, step, PACK))


def test_images_that_do_not_fit_the_frame(root):
    message = fails(config(root, IMAGE, LABELS, PACK), size=(32, 96))
    assert 'expected at most 32 x 96 (height x width)' in message
    assert "dict(type='Resize', scale=(96, 32), keep_ratio=True)" in message


def test_several_sizes_in_a_batch_of_validation(root):
    save(np.full((30, 40, 3), 90, np.uint8), root / 'img' / '1.png')
    save(np.zeros((30, 40), np.uint8), root / 'ann' / '1.png')
    packed = check(config(root, IMAGE, LABELS, PACK), training=False)
    check_batch_sizes(packed, 1, 'val_dataloader')
    with pytest.raises(DatasetError, match=r'val_dataloader.batch_size is 2.*48 x 64.*30 x 40'):
        check_batch_sizes(packed, 2, 'val_dataloader')


def test_what_prediction_needs_is_packed(root):
    pack = dict(PACK, meta_keys=('img_path',))
    message = fails(config(root, IMAGE, LABELS, pack), training=False)
    assert "['ori_shape', 'img_shape'] are not there" in message
    assert len(check(config(root, IMAGE, LABELS, pack))) == 3


def test_a_training_without_label_maps(root):
    message = fails(config(root, IMAGE, PACK))
    assert "dict(type='LoadAnnotations')" in message
    assert len(check(config(root, IMAGE, PACK), training=False)) == 3


@pytest.mark.parametrize('test_mode', [False, True])
def test_a_transform_that_returns_nothing(root, test_mode):
    dataset = config(root, IMAGE, LABELS, dict(type='Nothing'), PACK, test_mode=test_mode)
    message = fails(dataset, training=not test_mode)
    assert 'sample 0 of BaseSegDataset does not pass its pipeline: it fails (Exception:' in message
    assert 'Let each transform return a sample' in message


# What is looked at stays as it is


def test_generators_and_settings_stay_as_they_are(root):
    dataset = DATASETS.build(config(root, IMAGE, LABELS, RESIZE, FLIP, PACK))
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    check(dataset)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert before == after
    assert dataset.max_refetch == 1000


@pytest.mark.parametrize(
    'step',
    [
        FLIP,
        dict(type='RandomCrop', crop_size=(16, 16)),
        dict(type='RandomRotate', prob=1.0, degree=20),
        dict(type='PhotoMetricDistortion'),
        dict(type='RandomCutOut', prob=1.0, n_holes=2, cutout_ratio=[(0.2, 0.2)]),
        dict(type='RandomRotFlip', rotate_prob=0.5, flip_prob=0.5),
        RESIZE,
    ],
    ids=lambda step: step['type'],
)
def test_transforms_of_mmseg_move_both(tmp_path, step):
    make_photographs(tmp_path)
    pipeline = [IMAGE, LABELS, step, PACK]
    assert len(check(config(tmp_path, *pipeline))) == 3
