"""Pixels by true and predicted class, counted by hand, and compared with mmseg's mIoU."""

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from mmseg_ssprompt.evaluation.confusion import count_confusion, mean_iou
from mmseg_ssprompt.label_ids import LabelIds


def test_counts_and_means():
    """A picture in which class 0 has 3 of 4 pixels right, and class 1 one of two; 255 is void."""
    truth = np.array([[0, 0, 0, 0, 1, 1, 255]], np.uint8)
    found = np.array([[0, 0, 0, 1, 1, 255, 0]], np.uint8)
    table = count_confusion(truth, found, LabelIds(3))
    assert table.tolist() == [[3, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert mean_iou(table) == pytest.approx(100 * (3 / 4 + 1 / 3) / 2)
    assert mean_iou(np.stack([table, 2 * table])).tolist() == [mean_iou(table)] * 2


@pytest.mark.parametrize(
    'ids', [LabelIds(1, rest_id=0), LabelIds(1, 65535, rest_id=255)], ids=['rest 0', 'rest 255']
)
def test_one_class_and_the_rest(ids):
    (own,), rest, void = ids.classes, ids.rest_id, ids.ignore_index
    truth, found = np.array([[own, own, rest, void]]), np.array([[own, rest, rest, own]])
    assert count_confusion(truth, found, ids).tolist() == [[1, 0, 0], [1, 1, 0]]


def test_the_mean_is_that_of_mmseg():
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 300, (2, 64, 64))
    truth[truth > 290] = 65535
    ids = LabelIds(300, 65535)
    areas = IoUMetric.intersect_and_union(
        torch.from_numpy(found), torch.from_numpy(truth), 300, 65535
    )
    expected = 100 * (areas[0] / areas[1]).nanmean()
    assert mean_iou(count_confusion(truth, found, ids)) == pytest.approx(float(expected))
