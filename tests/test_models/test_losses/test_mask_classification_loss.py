"""The loss by hand, who is matched to what, and that unlabelled pixels never count."""

import math
from functools import partial
from typing import Dict, Sequence

import pytest
import torch
from mmengine.logging import MessageHub
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.losses import MaskClassificationLoss, matching
from mmseg_ssprompt.models.losses.matching import UnknownSegmentsError
from mmseg_ssprompt.segments import segments_of_label_maps

IGNORED = 255
POINTS = 100
HALF = (torch.float16, torch.bfloat16)
SURE = 40.0  # a logit that sigmoid takes to 0 or 1 in float32

approx = partial(pytest.approx, rel=1e-5)  # float32 sums


def compute(
    class_logits: Tensor,
    mask_logits: Tensor,
    label_maps: Tensor,
    seed: int = 0,
    ignore_index: int = IGNORED,
    **kwargs,
) -> Dict[str, Tensor]:
    """The losses, with as many classes as the logits have, under a fixed seed."""
    kwargs.setdefault('num_points', POINTS)
    num_classes = class_logits.shape[-1] - 1
    loss = MaskClassificationLoss(num_classes, **kwargs)
    torch.manual_seed(seed)
    segments = segments_of_label_maps(label_maps, LabelIds(num_classes, ignore_index))
    return loss(class_logits, mask_logits, segments)


def quadrants(size: int = 8) -> Tensor:
    """A label map with classes 0 and 1 above, 2 and 3 below: (1, H, W)."""
    labels = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(size // 2, 0)
    return labels.repeat_interleave(size // 2, 1)[None]


def sure_masks(label_map: Tensor, classes: Sequence[int]) -> Tensor:
    """Logits of the true masks of some classes: (1, len(classes), H, W)."""
    return torch.stack([torch.where(label_map[0] == c, SURE, -SURE) for c in classes])[None]


def random_case(images: int = 2, prompts: int = 6, classes: int = 4, size: int = 8):
    """Logits that require gradients, and label maps with ignored pixels."""
    generator = torch.Generator().manual_seed(0)
    class_logits = torch.randn(images, prompts, classes + 1, generator=generator)
    mask_logits = torch.randn(images, prompts, size, size, generator=generator)
    labels = torch.randint(classes, (images, size, size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = IGNORED
    return class_logits.requires_grad_(), mask_logits.requires_grad_(), labels


def target_classes(class_logits: Tensor, *args: Tensor, **kwargs) -> Tensor:
    """What each prompt is told to be: only there the gradient is negative. (B, N)"""
    class_logits = class_logits.detach().requires_grad_()
    compute(class_logits, *args, **kwargs)['loss_cls'].backward()
    return class_logits.grad.argmin(dim=-1)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def dice_by_hand(logit: float) -> float:
    """Of a constant mask where every point is on the object."""
    probability = 1 / (1 + math.exp(-logit))
    return 1 - (2 * POINTS * probability + 1) / (POINTS * probability + POINTS + 1)


@pytest.mark.parametrize('weights', [(2.0, 5.0, 5.0, 0.1), (1.0, 2.0, 3.0, 0.5)])
def test_by_hand(weights):
    """Two images, each of one class; constant masks, so that it does not matter what is drawn."""
    class_logits = torch.tensor(
        [[[2.0, 0, 0], [0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 2]]]
    )
    constants = torch.tensor([[1.0, -2.0, -3.0], [-2.0, 0.5, -3.0]])
    mask_logits = constants[..., None, None].expand(-1, -1, 8, 8)
    label_maps = torch.tensor([0, 1])[:, None, None].repeat(1, 8, 8)
    names = ('loss_cls_weight', 'loss_mask_weight', 'loss_dice_weight', 'no_object_weight')
    losses = compute(class_logits, mask_logits, label_maps, **dict(zip(names, weights)))

    w_class, w_mask, w_dice, w_none = weights
    e = math.e
    matched = (math.log(e**2 + 2) - 2) + (math.log(e + 2) - 1)  # prompt 0, then prompt 1
    others = (math.log(e + 2) - 1) + math.log(3) + math.log(3) + (math.log(e**2 + 2) - 2)
    expected = dict(
        loss_cls=w_class * (matched + w_none * others) / (2 + 4 * w_none),
        loss_mask=w_mask * (softplus(-1.0) + softplus(-0.5)) / 2,
        loss_dice=w_dice * (dice_by_hand(1.0) + dice_by_hand(0.5)) / 2,
    )
    assert {key: value.item() for key, value in losses.items()} == approx(expected)


def test_two_classes_by_hand():
    """One prompt is right, the other wrong everywhere, whatever is drawn."""
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]).expand(1, 8, 8)
    masks = sure_masks(labels, [0, 0])
    class_logits = torch.tensor([[[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]]])
    losses = compute(class_logits, masks, labels)
    expected = dict(
        loss_cls=2 * (math.log(math.e**3 + 2) - 3),
        loss_mask=5 * (0 + SURE) / 2,
        loss_dice=5 * (0 + 1 - 1 / (POINTS + 1)) / 2,
    )
    assert {key: value.item() for key, value in losses.items()} == approx(expected)


def test_defaults_are_those_of_mask2former():
    loss = MaskClassificationLoss(3)
    assert (loss.loss_cls_weight, loss.loss_mask_weight, loss.loss_dice_weight) == (2.0, 5.0, 5.0)
    assert loss.class_weight.tolist() == [1.0] * 3
    assert (loss.no_object_weight, loss.num_points) == (0.1, 12544)
    matcher = loss.matcher
    assert (matcher.cls_weight, matcher.mask_weight, matcher.dice_weight) == (2.0, 5.0, 5.0)


def test_perfect_prediction_costs_nothing():
    labels = quadrants()
    masks = sure_masks(labels, [3, 0, 9, 1, 2])  # the third prompt finds nothing
    class_logits = 30 * torch.eye(5)[[3, 0, 4, 1, 2]][None]
    losses = compute(class_logits, masks, labels)
    assert all(0 <= value < 1e-5 for value in losses.values())


@pytest.mark.parametrize(('height', 'width'), [(4, 16), (16, 4)])
def test_frames_that_are_not_square(height: int, width: int):
    labels = (torch.arange(height * width) % 3).view(1, height, width)
    losses = compute(30 * torch.eye(4)[None, :3], sure_masks(labels, [0, 1, 2]), labels)
    assert all(value < 1e-5 for value in losses.values())


@pytest.mark.parametrize('seed', range(3))
def test_masks_decide_where_labels_say_nothing(seed: int):
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    masks = sure_masks(quadrants(), [0, 1, 2, 3, 8, 9])[:, order]
    targets = target_classes(torch.zeros(1, 6, 5), masks, quadrants())
    assert targets[0].tolist() == order.clamp(max=4).tolist()  # 4 is "no object"


def test_labels_decide_where_masks_say_nothing():
    wanted = [2, 4, 0, 3, 1]
    class_logits = 5 * torch.eye(5)[wanted][None]
    targets = target_classes(class_logits, torch.zeros(1, 5, 8, 8), quadrants())
    assert targets[0].tolist() == wanted


@pytest.mark.parametrize(
    ('weights', 'prompt'),
    [(dict(loss_cls_weight=100.0), 1), (dict(loss_cls_weight=0.01), 0), (dict(), 0)],
)
def test_matching_weighs_labels_against_masks(weights: dict, prompt: int):
    """Prompt 0 has the better mask, prompt 1 the better label."""
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    masks = torch.tensor([2.0, -1.0])[None, :, None, None].expand(-1, -1, 8, 8)
    class_logits = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    targets = target_classes(class_logits, masks, labels, **weights)
    assert targets[0].tolist() == [int(n != prompt) for n in range(2)]


def test_order_of_prompts_does_not_matter():
    class_logits, mask_logits, labels = random_case()
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    expected = compute(class_logits, mask_logits, labels)
    losses = compute(class_logits[:, order], mask_logits[:, order], labels)
    torch.testing.assert_close(losses, expected)
    targets = target_classes(class_logits, mask_logits, labels)
    permuted = target_classes(class_logits[:, order], mask_logits[:, order], labels)
    assert torch.equal(permuted, targets[:, order])


def test_masks_train_where_they_are_matched_only():
    class_logits, mask_logits, labels = random_case()
    targets = target_classes(class_logits, mask_logits, labels)
    losses = compute(class_logits, mask_logits, labels)
    (losses['loss_mask'] + losses['loss_dice']).backward()
    trained = (mask_logits.grad != 0).flatten(2).any(dim=2)  # (B, N)
    assert torch.equal(trained, targets < 4)
    assert trained.sum(dim=1).tolist() == [4, 4]


def test_labels_train_everywhere():
    class_logits, mask_logits, labels = random_case()
    compute(class_logits, mask_logits, labels)['loss_cls'].backward()
    assert (class_logits.grad != 0).all()
    assert (mask_logits.grad == 0).all()


def test_same_seed_same_loss():
    case = random_case()
    assert compute(*case) == compute(*case)
    assert compute(*case)['loss_mask'] != compute(*case, seed=1)['loss_mask']


def test_ignored_pixels_never_matter():
    class_logits, mask_logits, labels = random_case()
    ignored = (labels == IGNORED)[:, None].expand_as(mask_logits)
    losses = compute(class_logits, mask_logits, labels)
    changed = torch.where(ignored, 1000 * torch.randn(mask_logits.shape), mask_logits)
    assert compute(class_logits, changed, labels) == losses
    sum(losses.values()).backward()
    assert (mask_logits.grad[ignored] == 0).all()


def test_padding_never_matters_at_a_lower_resolution():
    """Out of reach of interpolation from any labelled pixel."""
    class_logits, mask_logits, _ = random_case()
    labels = torch.randint(4, (2, 32, 32), generator=torch.Generator().manual_seed(2))
    labels[:, :, 16:] = IGNORED
    changed = mask_logits.detach().clone()
    changed[..., 5:] = 1000.0  # a column of the masks is 4 pixels wide
    losses = compute(class_logits, mask_logits, labels)
    torch.testing.assert_close(compute(class_logits, changed, labels), losses)


def test_ignore_index_is_a_setting():
    class_logits, mask_logits, labels = random_case()
    other = torch.where(labels == IGNORED, 77, labels)
    losses = compute(class_logits, mask_logits, labels)
    assert compute(class_logits, mask_logits, other, ignore_index=77) == losses


def test_constant_masks_of_a_lower_resolution():
    """The frame's border is read as the rest of it, as in prediction."""
    mask_logits = torch.full((1, 1, 4, 4), 3.0)
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    losses = compute(torch.zeros(1, 1, 2), mask_logits, labels)
    assert losses['loss_mask'].item() == approx(5 * softplus(-3.0))
    assert losses['loss_dice'].item() == approx(5 * dice_by_hand(3.0))


def test_nothing_labelled():
    class_logits, mask_logits, labels = random_case()
    losses = compute(class_logits, mask_logits, torch.full_like(labels, IGNORED))
    assert {key: value.item() for key, value in losses.items()} == dict(
        loss_cls=0.0, loss_mask=0.0, loss_dice=0.0
    )
    sum(losses.values()).backward()
    assert torch.equal(class_logits.grad, torch.zeros_like(class_logits))
    assert torch.equal(mask_logits.grad, torch.zeros_like(mask_logits))


def test_image_without_labels_changes_nothing_for_the_other():
    class_logits, mask_logits, labels = random_case()
    labels[1] = IGNORED  # the last, so that the same points are drawn in the other
    both = compute(class_logits, mask_logits, labels)
    alone = compute(class_logits[:1], mask_logits[:1], labels[:1])
    torch.testing.assert_close(both, alone)


def test_more_classes_than_prompts():
    """The prompts take the classes that suit them; the others are left out."""
    masks = sure_masks(quadrants(), [2, 1])
    losses = compute(30 * torch.eye(5)[[2, 1]][None], masks, quadrants())
    assert all(value < 1e-5 for value in losses.values())
    assert target_classes(torch.zeros(1, 2, 5), masks, quadrants())[0].tolist() == [2, 1]


def test_class_of_which_no_pixel_is_drawn_is_no_target():
    masks = sure_masks(quadrants(), [0, 1, 2, 3])
    targets = target_classes(torch.zeros(1, 4, 5), masks, quadrants(), num_points=1)
    assert sorted(targets[0].tolist())[1:] == [4, 4, 4]


@pytest.mark.parametrize('weight', [0.0, 0.1, 1.0])
def test_no_object_weight(weight: float):
    """What an unmatched prompt counts against a matched one."""
    class_logits = torch.zeros(1, 2, 2, requires_grad=True)
    masks = torch.tensor([SURE, -SURE])[None, :, None, None].expand(-1, -1, 8, 8)
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    compute(class_logits, masks, labels, no_object_weight=weight)['loss_cls'].backward()
    share = 1.0 / (1 + weight)  # 2 for the class weight, 0.5 for the softmax
    expected = torch.tensor([[[-share, share], [weight * share, -weight * share]]])
    torch.testing.assert_close(class_logits.grad, expected)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32])
def test_label_maps_of_any_integer_type(dtype: torch.dtype):
    class_logits, mask_logits, labels = random_case()
    losses = compute(class_logits, mask_logits, labels.to(dtype))
    assert losses == compute(class_logits, mask_logits, labels)


@pytest.mark.parametrize('dtype', HALF)
def test_float32_under_autocast(dtype: torch.dtype):
    class_logits, mask_logits, labels = random_case()
    expected = compute(class_logits.to(dtype).float(), mask_logits.to(dtype).float(), labels)
    with torch.autocast('cpu', dtype):
        losses = compute(class_logits.to(dtype), mask_logits.to(dtype), labels)
    assert losses == expected
    assert all(value.dtype == torch.float32 for value in losses.values())


@pytest.mark.parametrize('dtype', HALF)
def test_costs_of_matching_are_float32_under_autocast(dtype: torch.dtype, monkeypatch):
    class_logits, mask_logits, labels = random_case()
    costs = []
    solve = matching._solve
    monkeypatch.setattr(matching, '_solve', lambda cost: costs.append(cost) or solve(cost))
    compute(class_logits.to(dtype).float(), mask_logits.to(dtype).float(), labels)
    with torch.autocast('cpu', dtype):
        compute(class_logits.to(dtype), mask_logits.to(dtype), labels)
    expected, found = costs
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize('dtype', HALF)
def test_matching_is_not_blurred_by_autocast(dtype: torch.dtype):
    """The second mask is better by less than the type can tell."""
    masks = torch.tensor([3.0, 3.0005])[None, :, None, None].expand(-1, -1, 8, 8)
    with torch.autocast('cpu', dtype):
        targets = target_classes(torch.zeros(1, 2, 2), masks, torch.zeros(1, 8, 8))
    assert targets[0].tolist() == [1, 0]


def test_built_from_config():
    loss = MODELS.build(dict(type='MaskClassificationLoss', num_classes=4, num_points=8))
    assert isinstance(loss, MaskClassificationLoss)
    assert not list(loss.parameters())
    assert not loss.state_dict()


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('which', ['class', 'mask'])
@pytest.mark.parametrize('label', [0, IGNORED])
def test_losses_of_logits_that_are_not_finite_are_nan(label: int, which: str, value: float):
    """Their gradients too, of all logits; and the message hub says which logits those are."""
    class_logits, mask_logits, labels = random_case()
    broken = class_logits if which == 'class' else mask_logits
    broken.data[1] = value
    losses = compute(class_logits, mask_logits, torch.full_like(labels, label))
    assert losses.keys() == {'loss_cls', 'loss_mask', 'loss_dice'}
    assert torch.stack(list(losses.values())).isnan().all()
    sum(losses.values()).backward()
    assert class_logits.grad.isnan().all() and mask_logits.grad.isnan().all()
    found = MessageHub.get_current_instance().pop_info(matching.NON_FINITE_LOGITS)
    assert found == f'the {which} logits of images [1] of the batch hold NaN or infinite values'


@pytest.mark.parametrize('label', [4, 5, 254, -1])
def test_label_that_is_no_class(label: int):
    """Label C would otherwise train as "no object", and others fail far from the cause."""
    class_logits, mask_logits, labels = random_case()
    labels[0, :4] = label
    with pytest.raises(UnknownSegmentsError, match=rf'hold \[{label}\]') as caught:
        compute(class_logits, mask_logits, labels)
    assert caught.value.numbers == [label]


@pytest.mark.parametrize('num_points', [0, -1, True, 2.5, '8', None])
def test_numbers_of_points_that_are_none(num_points):
    with pytest.raises(ValueError, match=f'num_points must be a positive .* got {num_points!r}'):
        MaskClassificationLoss(4, num_points=num_points)
    assert MaskClassificationLoss(4, num_points=1).num_points == 1
