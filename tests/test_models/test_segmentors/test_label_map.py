"""Label maps without the scores of all classes are those of mmseg's own postprocessing."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_ssprompt.models.segmentors.label_map import CLASSES_AT_A_TIME, find_best_classes
from tiny_model import CONFIG, NUM_CLASSES, build_tiny, random_images


def make_samples(**metainfo):
    """Two samples: an image that was enlarged and padded below, and one of the frame's size."""
    metainfo.update(pad_shape=(96, 96))
    padded = dict(ori_shape=(30, 40), img_shape=(72, 96), padding_size=[0, 0, 0, 24], **metainfo)
    whole = dict(ori_shape=(120, 120), img_shape=(96, 96), padding_size=[0, 0, 0, 0], **metainfo)
    return [SegDataSample(metainfo=meta) for meta in (padded, whole)]


@pytest.mark.parametrize(
    'metainfo', [{}, dict(flip=True, flip_direction='horizontal')], ids=['plain', 'flipped']
)
@torch.no_grad()
def test_equal_to_the_plain_path(metainfo):
    model, images = build_tiny(), random_images()
    expected = model(images, make_samples(**metainfo), mode='predict')
    model.test_cfg.logits = False
    found = model(images, make_samples(**metainfo), mode='predict')
    for one, two in zip(found, expected):
        assert 'seg_logits' in two
        assert 'seg_logits' not in one
        assert one.pred_sem_seg.data.dtype == torch.int64
        assert torch.equal(one.pred_sem_seg.data, two.pred_sem_seg.data)
        assert len(two.pred_sem_seg.data.unique()) > 2


@torch.no_grad()
def test_scores_are_there_unless_they_are_not_wanted():
    """As mmseg gives them, where the config does not say."""
    model, images = build_tiny(), random_images()
    del model.test_cfg['logits']
    assert all('seg_logits' in sample for sample in model(images, make_samples(), mode='predict'))


@pytest.mark.parametrize('count', [2, 7, 8, 9, 17, 150])
def test_any_number_of_classes(count: int):
    """Among them those that leave one over."""
    scores = torch.rand(count, 6, 6, generator=torch.Generator().manual_seed(0))
    seen = []

    def postprocess(logits, samples):
        seen.append(logits.shape[1])
        labels = logits[0].argmax(dim=0, keepdim=True)
        samples[0].set_data(
            dict(seg_logits=PixelData(data=logits[0]), pred_sem_seg=PixelData(data=labels))
        )
        return samples

    labels = find_best_classes(scores, (6, 6), SegDataSample(), postprocess)
    assert torch.equal(labels, scores.argmax(dim=0, keepdim=True))
    assert sum(seen) == count
    assert min(seen) >= 2
    assert max(seen) <= CLASSES_AT_A_TIME


@torch.no_grad()
def test_nothing_as_large_as_all_classes_is_made(monkeypatch):
    model, images = build_tiny(), random_images(1)
    model.test_cfg.logits = False
    largest = []
    original = BaseSegmentor.postprocess_result

    def watched(model, logits, samples):
        largest.append(logits.shape[1])
        return original(model, logits, samples)

    monkeypatch.setattr(BaseSegmentor, 'postprocess_result', watched)
    model(images, copy.deepcopy(make_samples()[:1]), mode='predict')
    assert sum(largest) == NUM_CLASSES
    assert max(largest) < NUM_CLASSES


def test_test_time_augmentation_asks_for_the_scores():
    model = build_tiny()
    model.test_cfg.logits = False
    config = Config.fromfile(CONFIG)
    MODELS.build(dict(config.tta_model, module=model))
    assert model.test_cfg.logits
    assert not config.model.test_cfg.logits  # what is shipped
