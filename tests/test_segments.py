"""What segments of label maps are, and what a sample holds as ``gt_segments``."""

import numpy as np
import pytest
import torch

from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.segments import (
    IGNORED,
    NO_CLASS,
    UNKNOWN,
    find_large_segments,
    make_gt_segments,
    renumber_segments,
    segments_of_label_maps,
)


@pytest.mark.parametrize('kind', [np.int32, np.int64])
def test_segments_that_remain_are_numbered_in_their_order(kind):
    numbers = np.array([[0, 1, 1], [IGNORED, 3, 3]], kind)
    found = renumber_segments(numbers, [1, 2, 3], 4)
    assert found.tolist() == [[IGNORED, 0, 0], [IGNORED, 2, 2]]
    assert found.dtype == kind
    assert (renumber_segments(numbers, [], 4) == IGNORED).all()


def test_large_segments_are_found():
    numbers = np.array([[0, 1, 1], [IGNORED, 3, 3]])
    assert find_large_segments(numbers, 4, 2) == [1, 3]
    assert find_large_segments(numbers, 5, 1) == [0, 1, 3]
    assert find_large_segments(numbers, 5, 0) == [0, 1, 2, 3, 4]


def test_each_class_of_a_label_map_is_a_segment():
    labels = torch.tensor([[[0, 2], [255, 1]], [[1, 1], [1, 255]]])
    maps, classes = segments_of_label_maps(labels, LabelIds(3))
    assert maps.tolist() == [[[0, 2], [IGNORED, 1]], [[1, 1], [1, IGNORED]]]
    assert classes.tolist() == [[0, 1, 2]] * 2
    assert maps.dtype == classes.dtype == torch.int64


@pytest.mark.parametrize(('rest', 'number', 'ignored'), [(0, 1, 255), (255, 0, 65535)])
def test_the_rest_of_one_class_has_no_class(rest, number, ignored):
    labels = torch.tensor([[[number, rest, ignored]]])
    maps, classes = segments_of_label_maps(labels, LabelIds(1, ignored, rest))
    assert maps.tolist() == [[[0, 1, IGNORED]]]
    assert classes.tolist() == [[0, NO_CLASS]]


@pytest.mark.parametrize('label', [3, 254, -1, -7])
def test_labels_of_no_class_are_told_apart(label):
    maps, _ = segments_of_label_maps(torch.tensor([[[0, label]]]), LabelIds(3))
    assert maps.tolist() == [[[0, label - UNKNOWN]]]


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16])
def test_label_maps_of_any_integer_type(dtype):
    labels = torch.tensor([[[0, 1, 77]]])
    expected = segments_of_label_maps(labels, LabelIds(2, 77)).maps
    assert torch.equal(segments_of_label_maps(labels.to(dtype), LabelIds(2, 77)).maps, expected)


def test_a_sample_holds_the_map_and_what_is_known_of_segments():
    info = dict(id=7, category_id=2, iscrowd=0, area=3)
    found = make_gt_segments(np.array([[0, -1]], dtype=np.int32), [info])
    assert found.data.tolist() == [[[0, -1]]] and found.data.dtype == torch.int64
    assert found.metainfo['segments_info'] == [info]
