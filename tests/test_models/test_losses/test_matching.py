"""A batch is matched as mmseg's assigner matches its images one by one, in one transfer."""

import pytest
import torch
from mmengine.structures import InstanceData
from mmseg.registry import TASK_UTILS

from mmseg_ssprompt.models.losses.matching import (
    NonFiniteLogitsError,
    PromptMatcher,
    UnknownSegmentsError,
)
from mmseg_ssprompt.segments import IGNORED, NO_CLASS, UNKNOWN

WEIGHTS = dict(cls_weight=2.0, mask_weight=5.0, dice_weight=5.0)


def make_case(images=3, prompts=7, classes=5, points=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    class_logits = torch.randn(images, prompts, classes + 1, generator=generator)
    mask_logits = 3 * torch.randn(images, prompts, points, generator=generator)
    labels = torch.randint(classes, (images, points), generator=generator)
    labels[1, labels[1] == 2] = IGNORED  # a class that this image has not
    return class_logits, mask_logits, labels, torch.arange(classes).expand(images, -1)


def as_sets(matches):
    pairs = zip(matches.images.tolist(), matches.prompts.tolist(), matches.classes.tolist())
    return set(pairs)


@pytest.mark.filterwarnings('ignore:.*torch.cuda.amp.autocast:FutureWarning')
@pytest.mark.parametrize('prompts', [7, 3])
@pytest.mark.parametrize('seed', range(3))
def test_equal_to_mmseg_s_hungarian_assigner(prompts: int, seed: int):
    class_logits, mask_logits, labels, classes = make_case(prompts=prompts, seed=seed)
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
        present = labels[image].unique()
        present = present[present != IGNORED]
        matched, order = assigner.assign(
            InstanceData(scores=class_logits[image], masks=mask_logits[image]),
            InstanceData(labels=present, masks=(labels[image] == present[:, None]).float()),
        )
        expected |= {(image, m, c) for m, c in zip(matched.tolist(), present[order].tolist())}
    matcher = PromptMatcher(**WEIGHTS)
    assert as_sets(matcher(class_logits, mask_logits, labels, classes)) == expected


@pytest.mark.filterwarnings('ignore:.*torch.cuda.amp.autocast:FutureWarning')
@pytest.mark.parametrize('scale', [0.1, 1.0, 30.0])  # logits up to a hundred or so
def test_costs_are_mmseg_s(scale: float):
    class_logits, mask_logits, labels, classes = make_case(seed=3)
    class_logits, mask_logits = scale * class_logits, scale * mask_logits
    classes = classes.flip(1).clone()
    classes[2, 1] = NO_CLASS
    found = PromptMatcher(**WEIGHTS).costs(class_logits, mask_logits, labels, classes)
    settings = (
        dict(type='ClassificationCost', weight=2.0),
        dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=5.0),
        dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0),
    )
    for image, cost in enumerate(found):
        masks = (labels[image] == torch.arange(5)[:, None]).float()
        prompts = InstanceData(scores=class_logits[image], masks=mask_logits[image])
        targets = InstanceData(labels=classes[image], masks=masks)
        expected = sum(TASK_UTILS.build(each)(prompts, targets) for each in settings)
        expected[:, (masks.sum(dim=1) == 0) | (classes[image] == NO_CLASS)] = float('inf')
        torch.testing.assert_close(cost, expected, rtol=1e-5, atol=1e-5)


def test_no_image_has_segments():
    class_logits, mask_logits, labels, _ = make_case()
    no_classes = torch.empty(3, 0, dtype=torch.int64)
    matcher = PromptMatcher(**WEIGHTS)
    matches = matcher(class_logits, mask_logits, torch.full_like(labels, IGNORED), no_classes)
    assert len(matches.images) == 0


def test_image_without_labels_has_no_match():
    class_logits, mask_logits, labels, classes = make_case()
    labels[0] = IGNORED
    matcher = PromptMatcher(**WEIGHTS)
    assert set(matcher(class_logits, mask_logits, labels, classes).images.tolist()) == {1, 2}


def test_nothing_to_match():
    class_logits, mask_logits, labels, classes = make_case()
    matcher = PromptMatcher(**WEIGHTS)
    matches = matcher(class_logits, mask_logits, torch.full_like(labels, IGNORED), classes)
    assert [len(part) for part in matches] == [0, 0, 0, 0]
    assert all(part.dtype == torch.int64 for part in matches)


def test_waits_for_the_device_once(monkeypatch):
    """``.cpu()`` is the one transfer; nothing else asks for a value."""
    class_logits, mask_logits, labels, classes = make_case()
    transfers = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(
        torch.Tensor, 'cpu', lambda tensor: transfers.append(tensor.shape) or original(tensor)
    )
    PromptMatcher(**WEIGHTS)(class_logits, mask_logits, labels, classes)
    assert transfers == [(3 * 3 + 3 * 7 * 5,)]


def test_logits_that_are_not_finite():
    class_logits, mask_logits, labels, classes = make_case()
    class_logits[[0, 2], 1] = float('inf')
    mask_logits[1, 0, 3] = float('nan')
    matcher = PromptMatcher(**WEIGHTS)
    with pytest.raises(NonFiniteLogitsError) as caught:
        matcher(class_logits, mask_logits, labels, classes)
    assert str(caught.value).splitlines() == [
        'the class logits of images [0, 2] of the batch hold NaN or infinite values',
        'the mask logits of images [1] of the batch hold NaN or infinite values',
    ]


def test_segments_of_one_class_are_matched_apart():
    """Three segments of class 1, and one of class 0; each prompt has the mask of one."""
    numbers = torch.arange(40)[None] % 4
    order = torch.tensor([2, 0, 3, 1])
    mask_logits = torch.where(numbers[:, None] == order[:, None], 9.0, -9.0)
    matcher = PromptMatcher(**WEIGHTS)
    matches = matcher(torch.zeros(1, 4, 3), mask_logits, numbers, torch.tensor([[1, 0, 1, 1]]))
    assert matches.prompts.tolist() == [0, 1, 2, 3]
    assert matches.segments.tolist() == order.tolist()
    assert matches.classes.tolist() == [1, 1, 1, 0]


def test_what_has_no_class_is_not_matched():
    class_logits, mask_logits, numbers, classes = make_case()
    classes = classes.clone()
    classes[0, [1, 4]] = NO_CLASS
    matches = PromptMatcher(**WEIGHTS)(class_logits, mask_logits, numbers, classes)
    assert set(matches.segments[matches.images == 0].tolist()) == {0, 2, 3}
    assert set(matches.segments[matches.images == 2].tolist()) == {0, 1, 2, 3, 4}


def test_padding_of_the_list_of_segments_changes_no_match():
    class_logits, mask_logits, numbers, classes = make_case()
    padded = torch.cat([classes, classes.new_full((3, 9), NO_CLASS)], dim=1)
    matcher = PromptMatcher(**WEIGHTS)
    found = matcher(class_logits, mask_logits, numbers, padded)
    for part, expected in zip(found, matcher(class_logits, mask_logits, numbers, classes)):
        assert torch.equal(part, expected)


@pytest.mark.parametrize(('number', 'named'), [(5, 5), (77 - UNKNOWN, 77), (-3 - UNKNOWN, -3)])
def test_numbers_of_no_segment(number: int, named: int):
    class_logits, mask_logits, numbers, classes = make_case()
    numbers[2, 3] = number
    with pytest.raises(UnknownSegmentsError) as caught:
        PromptMatcher(**WEIGHTS)(class_logits, mask_logits, numbers, classes)
    assert caught.value.numbers == [named]
