"""IoU of each class and of groups, computed by hand on a small confusion."""

import math

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from mmseg_ssprompt.evaluation import GroupedIoUMetric

CLASSES = ('cup', 'dog', 'sky', 'sea', 'owl')  # no pixel is an owl
META = dict(classes=CLASSES, thing_classes=('cup', 'dog', 'owl'), stuff_classes=('sky', 'sea'))

# cup: 2 of 2, and 1 of the sky       dog: 1 of 2, the other is taken for sea
# sky: 3 of 4, the other for cup      sea: 0 of 1 (ignored pixels are not counted), 1 of the dog
LABELS = torch.tensor([[0, 0, 1, 1, 255], [2, 2, 2, 2, 3]])
PREDICTED = torch.tensor([[0, 0, 1, 3, 0], [2, 2, 2, 0, 2]])
EXPECTED = {
    'IoU.cup': 100 * 2 / 3,
    'IoU.dog': 100 * 1 / 2,
    'IoU.sky': 100 * 3 / 5,
    'IoU.sea': 0.0,
}


def evaluate(labels=LABELS, predicted=PREDICTED, meta=META, images: int = 1, **kwargs) -> dict:
    """The figures of an image, or of the image in halves (left and right)."""
    metric = GroupedIoUMetric(**kwargs)
    metric.dataset_meta = meta
    for label, prediction in zip(labels.chunk(images, dim=1), predicted.chunk(images, dim=1)):
        sample = dict(
            gt_sem_seg=dict(data=label[None]),
            pred_sem_seg=dict(data=prediction[None]),
            img_path='some/image.png',
        )
        metric.process({}, [sample])
    return metric.evaluate(images)


def test_each_class_by_hand():
    metrics = evaluate()
    assert {key: metrics[key] for key in EXPECTED} == pytest.approx(EXPECTED)


def test_means_by_hand():
    metrics = evaluate()
    assert metrics['mIoU'] == pytest.approx((200 / 3 + 50 + 60 + 0) / 4, abs=0.005)
    assert metrics['mIoU.things'] == pytest.approx((200 / 3 + 50) / 2)
    assert metrics['mIoU.stuff'] == pytest.approx((60 + 0) / 2)


def test_absent_class_is_nan_and_left_out():
    metrics = evaluate()
    assert math.isnan(metrics['IoU.owl'])
    assert not any(math.isnan(metrics[key]) for key in ('mIoU', 'mIoU.things', 'mIoU.stuff'))


def test_class_that_is_only_predicted_counts():
    """A false alarm makes it zero, no longer absent."""
    predicted = PREDICTED.clone()
    predicted[0, 0] = 4
    metrics = evaluate(predicted=predicted)
    assert metrics['IoU.owl'] == 0.0
    assert metrics['mIoU.things'] == pytest.approx((100 / 3 + 50 + 0) / 3)


def test_areas_are_summed_over_images():
    whole, halves = evaluate(), evaluate(images=2)
    np.testing.assert_equal(halves, whole)


def test_figures_of_mmseg_are_untouched():
    metric = IoUMetric()
    metric.dataset_meta = META
    sample = dict(gt_sem_seg=dict(data=LABELS[None]), pred_sem_seg=dict(data=PREDICTED[None]))
    metric.process({}, [sample])
    expected = metric.evaluate(1)
    metrics = evaluate()
    assert {'aAcc', 'mIoU', 'mAcc'} <= set(expected)
    assert {key: metrics[key] for key in expected} == expected


def test_all_figures_are_plain_numbers():
    metrics = evaluate()
    names = {'mIoU.things', 'mIoU.stuff', *(f'IoU.{name}' for name in CLASSES)}
    assert set(metrics) == {'aAcc', 'mIoU', 'mAcc', *names}
    assert all(isinstance(metrics[name], float) for name in names)


def test_data_set_without_groups():
    metrics = evaluate(meta=dict(classes=CLASSES))
    assert not {'mIoU.things', 'mIoU.stuff'} & set(metrics)
    assert metrics['IoU.sky'] == pytest.approx(60.0)


def test_data_set_with_one_group():
    metrics = evaluate(meta=dict(classes=CLASSES, stuff_classes=('sky',)))
    assert 'mIoU.things' not in metrics
    assert metrics['mIoU.stuff'] == pytest.approx(60.0)


@pytest.mark.filterwarnings('error')
def test_group_of_absent_classes_is_nan_without_a_warning():
    metrics = evaluate(meta=dict(classes=CLASSES, thing_classes=('owl',)), prefix='val')
    assert math.isnan(metrics['val/mIoU.things'])


def test_nan_to_num_holds_for_the_groups_too():
    metrics = evaluate(nan_to_num=0)
    assert metrics['mIoU'] == pytest.approx((200 / 3 + 50 + 60 + 0 + 0) / 5, abs=0.005)
    assert metrics['IoU.owl'] == 0.0
    assert metrics['mIoU.things'] == pytest.approx((200 / 3 + 50 + 0) / 3)


def test_format_only_computes_nothing(tmp_path):
    assert evaluate(format_only=True, output_dir=str(tmp_path), images=1) == {}
    assert (tmp_path / 'image.png').is_file()


def test_built_from_config():
    assert isinstance(METRICS.build(dict(type='GroupedIoUMetric')), GroupedIoUMetric)
