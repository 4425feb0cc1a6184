"""What the loss is shown: crowds and padding never count, and samples may be of several kinds."""

from typing import Any

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.heads.targets import count_targets, stack_segments
from mmseg_ssprompt.segments import (
    IGNORED,
    NO_CLASS,
    UNKNOWN,
    make_gt_segments,
    segments_of_label_maps,
)

IDS = LabelIds(3)


def sample_of(numbers: Any, infos: Any, padding=(0, 0, 0, 0), name='a.png') -> SegDataSample:
    """A sample with segments, each of (class, whether it is a crowd)."""
    shape = torch.as_tensor(numbers).shape
    meta = dict(img_shape=tuple(shape), padding_size=padding, img_path=name)
    sample = SegDataSample(metainfo=meta)
    entries = [
        dict(id=100 + i, category_id=category, iscrowd=crowd, area=1)
        for i, (category, crowd) in enumerate(infos)
    ]
    sample.gt_segments = make_gt_segments(numbers, entries)
    return sample


def labelled(labels: Any) -> SegDataSample:
    sample = SegDataSample(metainfo=dict(img_path='labelled.png'))
    sample.gt_sem_seg = PixelData(data=torch.tensor(labels)[None])
    return sample


def test_segments_keep_their_numbers_and_classes():
    samples = [sample_of([[0, 1], [2, -1]], [(2, 0), (0, 0), (2, 0)])]
    maps, classes = stack_segments(samples, IDS)
    assert maps.tolist() == [[[0, 1], [2, IGNORED]]]
    assert classes.tolist() == [[2, 0, 2]]


def test_crowds_are_ignored_and_the_background_is_no_object():
    samples = [sample_of([[0, 1], [2, 3]], [(2, 0), (0, 1), (NO_CLASS, 0), (1, 1)])]
    maps, classes = stack_segments(samples, IDS)
    assert maps.tolist() == [[[0, IGNORED], [2, IGNORED]]]
    assert classes.tolist() == [[2, NO_CLASS, NO_CLASS, NO_CLASS]]
    assert count_targets(samples[0]) == 1


def test_maps_are_padded_as_their_images_and_classes_to_the_most_segments():
    samples = [
        sample_of([[0, 1, 1]], [(0, 0), (1, 0)], padding=(0, 0, 0, 1)),
        sample_of([[0], [0]], [(2, 0)], padding=(0, 2, 0, 0)),
    ]
    maps, classes = stack_segments(samples, IDS)
    assert maps.tolist() == [[[0, 1, 1], [-1, -1, -1]], [[0, -1, -1], [0, -1, -1]]]
    assert classes.tolist() == [[0, 1], [2, NO_CLASS]]


def test_a_batch_may_have_samples_of_both_kinds():
    samples = [sample_of([[0, 1]], [(1, 0), (1, 0)]), labelled([[2, 255]])]
    maps, classes = stack_segments(samples, IDS)
    assert maps.tolist() == [[[0, 1]], [[2, IGNORED]]]
    assert classes.tolist() == [[1, 1, NO_CLASS], [0, 1, 2]]
    assert count_targets(samples[1]) == 0


def test_one_class_in_a_batch_of_both_kinds():
    ids = LabelIds(1, 255, 0)
    samples = [sample_of([[0, 1]], [(0, 0), (NO_CLASS, 0)]), labelled([[1, 0]])]
    maps, classes = stack_segments(samples, ids)
    assert maps.tolist() == [[[0, 1]], [[0, 1]]]
    assert classes.tolist() == [[0, NO_CLASS]] * 2


def test_label_maps_alone():
    samples = [labelled([[0, 2]]), labelled([[255, 1]])]
    expected = segments_of_label_maps(torch.tensor([[[0, 2]], [[255, 1]]]), IDS)
    assert all(map(torch.equal, stack_segments(samples, IDS), expected))


@pytest.mark.parametrize('number', [2, 9, -2])
def test_numbers_of_no_segment_never_become_one_of_another_image(number):
    samples = [
        sample_of([[0, number]], [(0, 0), (1, 0)]),
        sample_of([[0, 9]], [(0, 0)] * 10),
    ]
    assert stack_segments(samples, IDS).maps[0].tolist() == [[0, number - UNKNOWN]]


@pytest.mark.parametrize('category', [3, -2, 255])
def test_classes_that_are_none(category):
    samples = [sample_of([[0, 1]], [(0, 0), (category, 0)], name='shop.png')]
    with pytest.raises(ValueError, match=f"'shop.png'.* 0 to 2, .* or -1, .*101: {category}"):
        stack_segments(samples, IDS)


def test_maps_of_another_size_than_the_image():
    sample = sample_of([[0, 0]], [(0, 0)], name='shop.png')
    sample.set_metainfo(dict(img_shape=(2, 4)))
    with pytest.raises(ValueError, match=r"'shop.png'.*\(2, 4\), found \(1, 2\).*before Resize"):
        stack_segments([sample], IDS)


@pytest.mark.parametrize('others', [[], [sample_of([[0, 0]], [(0, 0)])]])
def test_samples_without_labels(others):
    sample = SegDataSample(metainfo=dict(img_path='bare.png'))
    with pytest.raises(ValueError, match="'bare.png' has no labels.*LoadAnnotations.*LoadSegments"):
        stack_segments([*others, sample], IDS)
