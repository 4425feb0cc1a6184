"""Label maps without the scores of all classes are those of mmseg's own postprocessing."""

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_ssprompt.models.segmentors import label_map
from mmseg_ssprompt.models.segmentors.resized_masks import resize_masks
from tiny_model import CONFIG, build_tiny, random_images


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


@torch.no_grad()
def test_nothing_as_large_as_all_classes_is_made(monkeypatch):
    """Not of noise either, where each class is the highest somewhere; with ties the first is."""
    scores = torch.rand(20, 64, 64, generator=torch.Generator().manual_seed(0))
    scores[7] = scores[3]
    metainfo, made = dict(ori_shape=(500, 600)), []

    def watched(masks, **how):
        resized = resize_masks(masks, **how)
        made.append(resized.numel())
        return resized

    monkeypatch.setattr(label_map, 'resize_masks', watched)
    found = label_map.find_best_classes(scores, (256, 256), metainfo)
    assert len(made) == 20 and set(made) == {500 * 600}
    expected = resize_masks(scores, (256, 256), metainfo, bicubic=False).argmax(0, keepdim=True)
    assert torch.equal(found, expected)
    assert sorted(found.unique().tolist()) == [number for number in range(20) if number != 7]


@torch.no_grad()
def test_classes_that_are_the_highest_nowhere_are_not_resized(monkeypatch):
    scores = torch.zeros(40, 64, 64)
    scores[5, :, :20], scores[30, :, 20:], scores[31] = 3, 2, 1.9
    resized = []
    monkeypatch.setattr(
        label_map, 'resize_masks', lambda m, **how: resized.append(m) or resize_masks(m, **how)
    )
    metainfo = dict(ori_shape=(400, 400))
    found = label_map.find_best_classes(scores, (256, 256), metainfo)
    # Between the two the third may be the highest, as far as maxima and minima say.
    assert [each.amax().item() for each in resized] == [3, 2, pytest.approx(1.9)]
    expected = resize_masks(scores, (256, 256), metainfo, bicubic=False).argmax(0, keepdim=True)
    assert torch.equal(found, expected)


def test_test_time_augmentation_asks_for_the_scores():
    model = build_tiny()
    model.test_cfg.logits = False
    config = Config.fromfile(CONFIG)
    MODELS.build(dict(config.tta_model, module=model))
    assert model.test_cfg.logits
    assert not config.model.test_cfg.logits  # what is shipped
