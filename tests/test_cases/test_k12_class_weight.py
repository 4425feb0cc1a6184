"""K12: weights of classes in the loss, by the name that mmseg has for them."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.fileio import dump
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.losses import MaskClassificationLoss
from mmseg_ssprompt.segments import segments_of_label_maps
from tiny_model import build_tiny, tiny_config, training_loss

NAMES = ('background', 'crack')


def build(class_weight: Any, **loss: Any) -> Any:
    prompts = dict(dataset=None, class_names=NAMES)
    loss = dict(type='MaskClassificationLoss', num_points=64, class_weight=class_weight, **loss)
    return build_tiny(num_classes=2, semantic_prompts=prompts, loss_decode=loss)


def loss_cls(**settings: Any) -> float:
    """Of two prompts for classes 0 and 1, and one for nothing, whose logits differ."""
    logits = torch.tensor([[[3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]])
    labels = (torch.arange(8) < 4).long().expand(1, 8, 8)
    masks = torch.stack([torch.where(labels == c, 9.0, -9.0) for c in (0, 1, 7)], dim=1)
    torch.manual_seed(0)
    loss = MaskClassificationLoss(2, num_points=64, **settings)
    segments = segments_of_label_maps(labels, LabelIds(2))
    return loss(logits, masks, segments)['loss_cls'].item()


def by_hand(first: float, second: float, none: float = 0.1, whole: float = 2.0) -> float:
    e = math.e
    terms = [math.log(e**3 + 2) - 3, math.log(e + 2) - 1, math.log(e**2 + 2) - 2]
    weights = (first, second, none)
    return whole * sum(w * t for w, t in zip(weights, terms)) / sum(weights)


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (dict(), by_hand(1, 1)),
        (dict(class_weight=[0.8, 1.2]), by_hand(0.8, 1.2)),
        (dict(class_weight=(0.8, 1.2)), by_hand(0.8, 1.2)),
        (dict(class_weight=np.array([3.0, 1.0])), by_hand(3, 1)),
        (dict(class_weight=[0, 2]), by_hand(0, 2)),
        (dict(class_weight=[1, 2], no_object_weight=0.3), by_hand(1, 2, 0.3)),
        (dict(class_weight=[1, 2], loss_cls_weight=7), by_hand(1, 2, whole=7)),
    ],
)
def test_weights_by_hand(settings, expected):
    assert loss_cls(**settings) == pytest.approx(expected, rel=1e-5)


def test_weights_of_one_change_no_bit():
    assert loss_cls(class_weight=[1.0, 1.0]) == loss_cls()


@pytest.mark.parametrize('suffix', ['npy', 'json'])
def test_weights_from_a_file(tmp_path, suffix):
    file = str(tmp_path / f'weights.{suffix}')
    np.save(file, [0.8, 1.2]) if suffix == 'npy' else dump([0.8, 1.2], file)
    assert loss_cls(class_weight=file) == loss_cls(class_weight=[0.8, 1.2])


def test_weights_in_the_config_of_a_model():
    model = build([0.75, 1.25], no_object_weight=0.2)
    loss = model.decode_head.loss_decode
    assert (loss.class_weight.tolist(), loss.no_object_weight) == ([0.75, 1.25], 0.2)
    assert torch.isfinite(training_loss(model.train(), torch.zeros(2, 96, 96, dtype=torch.long)))


@pytest.mark.parametrize(
    ('class_weight', 'text'),
    [
        ([1.0], r'list of length 2, one number for each class, .*found \[1.0\]'),
        ([1, 1, 0.1], r'list of length 2.*found \[1, 1, 0.1\]'),  # as in Mask2Former
        ([1, -2], r'not negative .*found \{1: -2\}'),
        ([float('nan'), 1], r'finite, .*found \{0: nan\}'),
        ([1, 'a'], r"found \{1: 'a'\}"),
        ([0, 0], r'not all 0, found \[0, 0\]'),
        (2.0, 'found 2.0'),
        (dict(crack=2.0), "found {'crack': 2.0}"),
    ],
)
def test_weights_that_cannot_be_meant(class_weight, text):
    with pytest.raises(ValueError, match=f'loss_decode.class_weight: .*{text}'):
        build(class_weight)


@pytest.mark.parametrize('key', ['loss_cls_weight', 'loss_dice_weight', 'no_object_weight'])
@pytest.mark.parametrize('value', [-1, float('nan'), float('inf'), None, [1.0], True])
def test_weights_of_terms_that_are_none(key, value):
    with pytest.raises(ValueError, match=f'{key}: expected a number that is finite'):
        MaskClassificationLoss(2, **{key: value})


PIXELS = dict(type='CrossEntropyLoss')


@pytest.mark.parametrize('losses', [PIXELS, [PIXELS], [dict(type='MaskClassificationLoss')]])
def test_losses_of_pixels_and_several_losses_are_refused_in_words(losses):
    config = tiny_config().model
    config.decode_head.loss_decode = losses
    with (
        DefaultScope.overwrite_default_scope('mmseg'),
        pytest.raises(ValueError, match='expected one loss of masks with labels, .*Loss'),
    ):
        MODELS.build(config)


def test_one_class_has_one_weight():
    """A second one might be meant for the rest, or for "no object"."""
    with pytest.raises(ValueError, match='list of length 1'):
        MaskClassificationLoss(1, class_weight=[1.0, 5.0])
    loss = MaskClassificationLoss(1, class_weight=[5.0])
    assert loss.class_weight.tolist() == [5.0]


@pytest.mark.parametrize(
    ('class_weight', 'rest_id', 'text'),
    [
        ([1.0], None, 'list of length 2, one number for each class'),
        ([1.0, -1.0], None, '1: -1.0'),
        ([1.0], 0, 'list of length 2, for the rest and the class'),
    ],
)
def test_weights_of_the_linear_baseline(class_weight, rest_id, text):
    config = tiny_config().model
    config.decode_head = dict(
        type='LinearEmbeddingHead',
        in_channels=96,
        class_names=NAMES if rest_id is None else NAMES[1:],
        rest_id=rest_id,
        loss_decode=dict(type='CrossEntropyLoss', class_weight=class_weight),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        with pytest.raises(ValueError, match=text):
            MODELS.build(config)
        config.decode_head.loss_decode.class_weight = [0.5, 2.0]
        model = MODELS.build(config)
    assert torch.isfinite(training_loss(model.train(), torch.zeros(2, 96, 96, dtype=torch.long)))
