"""Objects and regions as the head takes them from samples: crowds, label maps, too few prompts."""

from typing import List

import pytest
import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_ssprompt.models.heads import ssprompt_head
from mmseg_ssprompt.segments import IGNORED, make_gt_segments
from tiny_model import (
    NUM_CLASSES,
    SIZE,
    build_tiny,
    names_of_trainable,
    random_images,
    random_labels,
    training_loss,
)

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


def objects_of(count: int, name: str = 'crowded.png') -> SegDataSample:
    """A sample with ``count`` objects of all classes in turn, in columns, and a crowd below."""
    numbers = (torch.arange(SIZE) * count // SIZE).expand(SIZE, -1).clone()
    numbers[80:] = count
    infos = [dict(id=i + 1, category_id=i % NUM_CLASSES, iscrowd=0, area=1) for i in range(count)]
    infos.append(dict(id=count + 1, category_id=0, iscrowd=1, area=1))
    meta = dict(img_path=name, img_shape=(SIZE, SIZE), padding_size=[0, 0, 0, 0])
    sample = SegDataSample(metainfo=meta)
    sample.gt_segments = make_gt_segments(numbers, infos)
    return sample


def loss_of_objects(model: nn.Module, samples: List[SegDataSample]) -> Tensor:
    torch.manual_seed(0)
    losses = model(random_images(len(samples)), samples, mode='loss')
    return sum(value for key, value in losses.items() if 'loss' in key)


def test_objects_train_all_prompts():
    model = build_tiny().train()
    loss_of_objects(model, [objects_of(5), objects_of(14)]).backward()
    names = names_of_trainable(model)
    own = dict(model.named_parameters())
    assert names and all(own[name].grad.isfinite().all() for name in names)
    assert any(own[name].grad.any() for name in names)


def test_a_crowd_trains_nothing():
    """Neither where it is nor what it is."""
    losses = []
    for numbers in (5, -1):
        sample = objects_of(5)
        sample.gt_segments.data[:, 80:] = numbers
        losses.append(loss_of_objects(build_tiny(), [sample]))
    assert losses[0] == losses[1]


def test_one_object_of_each_class_is_the_label_map():
    """To the bit: the same segments in the same order."""
    labels = random_labels(2)
    samples = []
    for label_map in labels:
        infos = [dict(id=i, category_id=i, iscrowd=0, area=1) for i in range(NUM_CLASSES)]
        sample = objects_of(1)
        segment_map = label_map.where(label_map != 255, IGNORED)
        sample.gt_segments = make_gt_segments(segment_map, infos)
        samples.append(sample)
    model = build_tiny()
    assert loss_of_objects(model, samples) == training_loss(model, labels)


def test_more_objects_than_prompts_are_said_once(monkeypatch):
    said = []
    monkeypatch.setattr(ssprompt_head, 'print_log', lambda text, *_: said.append(text))
    model = build_tiny(spatial_prompts=dict(num_prompts=25))
    loss_of_objects(model, [objects_of(25)])
    assert not said
    loss_of_objects(model, [objects_of(3), objects_of(31), objects_of(26)])
    loss_of_objects(model, [objects_of(40)])
    (text,) = said
    assert "image 'crowded.png' has 31 segments" in text and 'there are 25 prompts' in text


def test_labels_of_no_class_and_numbers_of_no_segment_are_named():
    labels = torch.full((1, SIZE, SIZE), 17)
    model = build_tiny()
    expected = r'label maps of a batch hold \[17\]: expected 0 to 9 .* 255 \(ignored\)$'
    with pytest.raises(ValueError, match=expected):
        training_loss(model, labels, random_images(1))
    sample = objects_of(3)
    sample.gt_segments.data[:, :4] = 9
    with pytest.raises(ValueError, match=r'hold \[9\]: .*indices of segments_info and -1 .ignored'):
        loss_of_objects(model, [sample])
