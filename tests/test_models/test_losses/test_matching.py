"""A batch is matched as mmseg's assigner matches its images one by one, in one transfer."""

import pytest
import torch
from mmengine.structures import InstanceData
from mmseg.registry import TASK_UTILS

from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.losses.matching import NonFiniteLogitsError, PromptMatcher

IGNORED = 255
WEIGHTS = dict(cls_weight=2.0, mask_weight=5.0, dice_weight=5.0)


def make_case(images=3, prompts=7, classes=5, points=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    class_logits = torch.randn(images, prompts, classes + 1, generator=generator)
    mask_logits = 3 * torch.randn(images, prompts, points, generator=generator)
    labels = torch.randint(classes, (images, points), generator=generator)
    labels[1, labels[1] == 2] = IGNORED  # a class that this image has not
    return class_logits, mask_logits, labels


def as_sets(matches):
    pairs = zip(matches.images.tolist(), matches.prompts.tolist(), matches.classes.tolist())
    return set(pairs)


@pytest.mark.filterwarnings('ignore:.*torch.cuda.amp.autocast:FutureWarning')
@pytest.mark.parametrize('prompts', [7, 3])
@pytest.mark.parametrize('seed', range(3))
def test_equal_to_mmseg_s_hungarian_assigner(prompts: int, seed: int):
    class_logits, mask_logits, labels = make_case(prompts=prompts, seed=seed)
    assigner = TASK_UTILS.build(
        dict(
            type='HungarianAssigner',
            match_costs=[
                dict(type='ClassificationCost', weight=2.0),
                dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=5.0),
                dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0),
            ],
        )
    )
    expected = set()
    for image in range(len(labels)):
        classes = labels[image].unique()
        classes = classes[classes != IGNORED]
        matched, order = assigner.assign(
            InstanceData(scores=class_logits[image], masks=mask_logits[image]),
            InstanceData(labels=classes, masks=(labels[image] == classes[:, None]).float()),
        )
        expected |= {(image, m, c) for m, c in zip(matched.tolist(), classes[order].tolist())}
    matcher = PromptMatcher(LabelIds(5, IGNORED), **WEIGHTS)
    assert as_sets(matcher(class_logits, mask_logits, labels)) == expected


def test_image_without_labels_has_no_match():
    class_logits, mask_logits, labels = make_case()
    labels[0] = IGNORED
    matcher = PromptMatcher(LabelIds(5, IGNORED), **WEIGHTS)
    assert set(matcher(class_logits, mask_logits, labels).images.tolist()) == {1, 2}


def test_nothing_to_match():
    class_logits, mask_logits, labels = make_case()
    matcher = PromptMatcher(LabelIds(5, IGNORED), **WEIGHTS)
    matches = matcher(class_logits, mask_logits, torch.full_like(labels, IGNORED))
    assert [len(part) for part in matches] == [0, 0, 0]
    assert all(part.dtype == torch.int64 for part in matches)


def test_waits_for_the_device_once(monkeypatch):
    """``.cpu()`` is the one transfer; nothing else asks for a value."""
    class_logits, mask_logits, labels = make_case()
    transfers = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(
        torch.Tensor, 'cpu', lambda tensor: transfers.append(tensor.shape) or original(tensor)
    )
    PromptMatcher(LabelIds(5, IGNORED), **WEIGHTS)(class_logits, mask_logits, labels)
    assert transfers == [(3 * 3 + 3 * 7 * 5,)]


def test_logits_that_are_not_finite():
    class_logits, mask_logits, labels = make_case()
    class_logits[[0, 2], 1] = float('inf')
    mask_logits[1, 0, 3] = float('nan')
    matcher = PromptMatcher(LabelIds(5, IGNORED), **WEIGHTS)
    with pytest.raises(NonFiniteLogitsError) as caught:
        matcher(class_logits, mask_logits, labels)
    assert str(caught.value).splitlines() == [
        'the class logits of images [0, 2] of the batch hold NaN or infinite values',
        'the mask logits of images [1] of the batch hold NaN or infinite values',
    ]
