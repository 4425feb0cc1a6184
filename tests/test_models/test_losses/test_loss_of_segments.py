"""The loss of label maps is what it was; objects of one class are targets of their own."""

from typing import Any, Dict

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.losses import MaskClassificationLoss
from mmseg_ssprompt.models.losses.point_sampling import draw_labelled_points, sample_masks
from mmseg_ssprompt.segments import IGNORED, NO_CLASS, Segments, segments_of_label_maps

POINTS = 60
SURE = 40.0  # a logit that sigmoid takes to 0 or 1 in float32


def random_logits(images: int, prompts: int, classes: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    class_logits = 2 * torch.randn(images, prompts, classes + 1, generator=generator)
    mask_logits = 3 * torch.randn(images, prompts, 8, 10, generator=generator)
    return class_logits.requires_grad_(), mask_logits.requires_grad_()


def losses_of(class_logits: Tensor, mask_logits: Tensor, segments: Segments, **settings: Any):
    loss = MaskClassificationLoss(
        class_logits.shape[-1] - 1, **{**dict(num_points=POINTS), **settings}
    )
    torch.manual_seed(0)
    return loss(class_logits, mask_logits, segments)


def reference(
    class_logits: Tensor, mask_logits: Tensor, labels: Tensor, ids: LabelIds, weights: Tensor
) -> Dict[str, Tensor]:
    """The losses of label maps, which know classes and no segments, an image at a time."""
    torch.manual_seed(0)
    points, drawn = draw_labelled_points(labels, POINTS, ids.ignore_index)
    logits, masks, picked, chosen = [], [], [], []
    for image, (own, at) in enumerate(zip(drawn, points)):
        present = [number for number in ids.classes if (own == number).any()]
        if not present:
            continue
        targets = torch.stack([own == number for number in present]).float()  # (T, P)
        sampled = sample_masks(mask_logits[image : image + 1], at[None])[0]  # (N, P)
        classes = torch.tensor(present) - ids.classes.start
        with torch.no_grad():
            # Each pair's cost: 2 of the class, 5 of the cross-entropy, 5 of dice.
            cost = -2 * class_logits[image].softmax(-1)[:, classes]
            pairs = torch.broadcast_tensors(sampled[:, None], targets)
            binary = F.binary_cross_entropy_with_logits(*pairs, reduction='none')
            cost += 5 * binary.mean(dim=-1)
            soft = sampled.sigmoid()
            both = 2 * soft @ targets.T + 1
            cost += 5 * (1 - both / (soft.sum(-1)[:, None] + targets.sum(-1) + 1))
        for prompt, target in zip(*linear_sum_assignment(cost)):
            logits.append(sampled[prompt])
            masks.append(targets[target])
            picked.append((image, prompt))
            chosen.append(classes[target])
    weight = torch.full(class_logits.shape[:2], 0.1)
    target = torch.full(class_logits.shape[:2], ids.num_classes)
    for pair, number in zip(picked, chosen):
        weight[pair], target[pair] = weights[number], number
    weight = weight * (drawn != ids.ignore_index).any(dim=1, keepdim=True)
    count = torch.tensor(float(len(masks))).clamp(min=1e-6)
    entropy = F.cross_entropy(class_logits.mT, target, reduction='none')
    losses = dict(loss_cls=2 * (entropy * weight).sum() / weight.sum().clamp(min=1e-6))
    if not masks:
        return dict(losses, loss_mask=torch.zeros(()), loss_dice=torch.zeros(()))
    logits, masks = torch.stack(logits), torch.stack(masks)
    binary = F.binary_cross_entropy_with_logits(logits, masks, reduction='none').mean(dim=1)
    soft = logits.sigmoid()
    dice = 1 - (2 * (soft * masks).sum(dim=1) + 1) / (soft.sum(dim=1) + masks.sum(dim=1) + 1)
    return dict(losses, loss_mask=5 * binary.sum() / count, loss_dice=5 * dice.sum() / count)


def gradients(losses: Dict[str, Tensor], *logits: Tensor):
    return torch.autograd.grad(sum(losses.values()), logits, allow_unused=True)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize(
    ('ids', 'prompts'),
    [
        (LabelIds(4), 7),
        (LabelIds(6, 77), 3),  # more classes than prompts
        (LabelIds(1, 255, 0), 5),
        (LabelIds(1, 65535, 255), 5),
    ],
)
def test_label_maps_have_the_losses_of_classes_to_the_bit(ids, prompts, seed):
    class_logits, mask_logits = random_logits(3, prompts, ids.num_classes, seed)
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.tensor([*ids.counted, ids.ignore_index])
    labels = numbers[torch.randint(len(numbers), (3, 6, 9), generator=generator)]
    labels[2] = ids.ignore_index  # the last, so that it takes no draw from another
    weights = torch.arange(1.0, ids.num_classes + 1)
    found = losses_of(
        *(class_logits, mask_logits, segments_of_label_maps(labels, ids)),
        class_weight=weights.tolist(),
    )
    expected = reference(class_logits, mask_logits, labels, ids, weights)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    pairs = (gradients(each, class_logits, mask_logits) for each in (found, expected))
    for ours, theirs in zip(*pairs):
        assert torch.equal(ours, theirs)


def quadrants(size: int = 8) -> Tensor:
    """Numbers 0 and 1 above, 2 and 3 below: (1, H, W)."""
    numbers = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(size // 2, 0)
    return numbers.repeat_interleave(size // 2, 1)[None]


def sure_masks(maps: Tensor, numbers: Any) -> Tensor:
    return torch.stack([torch.where(maps[0] == n, SURE, -SURE) for n in numbers])[None]


def test_objects_of_one_class_cost_nothing_where_each_has_a_prompt():
    segments = Segments(quadrants(), torch.tensor([[1, 1, 0, 1]]))
    order = [3, 0, 9, 1, 2]
    labels = [1, 1, 2, 1, 0]  # 2 is "no object"
    class_logits = 30 * torch.eye(3)[labels][None]
    losses = losses_of(class_logits, sure_masks(segments.maps, order), segments)
    assert all(0 <= value < 1e-5 for value in losses.values())


def test_one_mask_of_two_objects_is_wrong():
    """It would be right for the label map, where both are one segment."""
    mask = sure_masks(torch.where(quadrants() == 1, 0, quadrants()), [0])
    class_logits = torch.tensor([[[30.0, 0.0, 0.0]]])
    one = Segments(torch.where(quadrants() == 1, 0, quadrants()), torch.tensor([[0, -1, -1, -1]]))
    assert losses_of(class_logits, mask, one)['loss_mask'] < 1e-5
    two = Segments(quadrants(), torch.tensor([[0, 0, -1, -1]]))
    assert losses_of(class_logits, mask, two)['loss_mask'] > 1


def test_ignored_pixels_train_nothing():
    class_logits, mask_logits = random_logits(1, 6, 3)
    maps = torch.full((1, 8, 16), IGNORED)
    maps[..., :8] = quadrants()
    segments = Segments(maps, torch.tensor([[0, 1, 2, 2]]))
    losses = losses_of(class_logits, mask_logits, segments)
    (gradient,) = gradients(losses, mask_logits)
    assert not gradient[..., 6:].any()  # a column of masks further than interpolation reaches
    assert gradient[..., :5].any()


def test_the_background_of_objects_counts_and_is_no_target():
    """Prompts are told "no object", and a mask that lies on the background costs."""
    maps = torch.zeros(1, 8, 8, dtype=torch.long)
    class_logits, _ = random_logits(1, 3, 2)
    masks = torch.full((1, 3, 8, 8), -SURE)
    nothing = Segments(maps, torch.tensor([[NO_CLASS]]))
    losses = losses_of(class_logits, masks, nothing)
    (gradient,) = gradients(losses, class_logits)
    assert gradient.argmin(dim=-1).tolist() == [[2, 2, 2]]
    assert losses['loss_mask'] == losses['loss_dice'] == 0
    maps = (torch.arange(8) < 4).long().expand(1, 8, 8).contiguous()
    background = Segments(maps, torch.tensor([[NO_CLASS, 1]]))
    narrow, wide = sure_masks(maps, [1, 9, 9]), sure_masks(maps, [1, 9, 9])
    wide[:, 0] = SURE
    class_logits = torch.tensor([[[0.0, 30.0, 0.0], [0.0, 0.0, 30.0], [0.0, 0.0, 30.0]]])
    assert losses_of(class_logits, narrow, background)['loss_mask'] < 1e-5
    assert losses_of(class_logits, wide, background)['loss_mask'] > 1


def test_more_objects_than_prompts():
    """The objects that suit them are taken; the others are left out."""
    segments = Segments(quadrants(), torch.tensor([[1, 1, 0, 1]]))
    class_logits = 30 * torch.eye(3)[[1, 0]][None]
    losses = losses_of(class_logits, sure_masks(segments.maps, [1, 2]), segments)
    assert all(value < 1e-5 for value in losses.values())


def test_padding_of_the_list_of_segments_changes_no_bit():
    class_logits, mask_logits = random_logits(2, 6, 3)
    maps = torch.randint(-1, 4, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[0, 2, 2, 1], [1, 1, NO_CLASS, 0]])
    padded = torch.cat([classes, classes.new_full((2, 5), NO_CLASS)], dim=1)
    found, expected = (
        losses_of(class_logits, mask_logits, Segments(maps, each)) for each in (padded, classes)
    )
    assert found == expected
    for ours, theirs in zip(*(gradients(e, class_logits, mask_logits) for e in (found, expected))):
        assert torch.equal(ours, theirs)


def test_the_order_of_segments_changes_nothing():
    class_logits, mask_logits = random_logits(1, 6, 3)
    maps = torch.randint(4, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    classes, order = torch.tensor([[0, 2, 2, 1]]), torch.tensor([2, 0, 3, 1])
    expected = losses_of(class_logits, mask_logits, Segments(maps, classes))
    renumbered = Segments(order[maps], classes[:, order.argsort()])
    torch.testing.assert_close(losses_of(class_logits, mask_logits, renumbered), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_under_autocast(dtype):
    class_logits, mask_logits = (part.detach().to(dtype) for part in random_logits(2, 6, 3))
    maps = torch.randint(-1, 4, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    segments = Segments(maps, torch.tensor([[0, 2, 2, 1], [1, 1, NO_CLASS, 0]]))
    expected = losses_of(class_logits.float(), mask_logits.float(), segments)
    with torch.autocast('cpu', dtype):
        assert losses_of(class_logits, mask_logits, segments) == expected


@pytest.mark.slow
def test_compiled_for_other_numbers_of_segments():
    """What dynamo makes of it, without the code generator of a backend."""
    class_logits, mask_logits = random_logits(2, 6, 3)
    loss = MaskClassificationLoss(3, num_points=POINTS)
    compiled = torch.compile(loss, backend='eager')
    for count in (2, 5):
        maps = torch.randint(-1, count, (2, 8, 8), generator=torch.Generator().manual_seed(0))
        segments = Segments(maps, torch.arange(2 * count).view(2, count) % 3)
        found = []
        for each in (compiled, loss):
            torch.manual_seed(0)
            found.append(each(class_logits, mask_logits, segments))
        assert found[0] == found[1]
