"""Whatever the sizes and the labels: losses are finite, and every prompt gets a gradient."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from mmengine.structures import InstanceData
from mmseg.models.assigners import HungarianAssigner

from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.losses import MaskClassificationLoss
from mmseg_ssprompt.models.losses.matching import PromptMatcher
from mmseg_ssprompt.models.losses.point_sampling import draw_labelled_points, sample_masks
from mmseg_ssprompt.segments import segments_of_label_maps

IGNORED = 255
SIZES = dict(
    batch=st.integers(1, 3),
    prompts=st.integers(1, 7),
    classes=st.integers(1, 5),
    height=st.integers(1, 9),
    width=st.sampled_from([1, 2, 7, 60]),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 1000),
)


def make(batch, prompts, classes, height, width, ignored, seed):
    """Logits of any size, and label maps of any other."""
    generator = torch.Generator().manual_seed(seed)
    class_logits = torch.randn(batch, prompts, classes + 1, generator=generator) * 5
    mask_logits = torch.randn(batch, prompts, 4, 4, generator=generator) * 5
    labels = torch.randint(classes, (batch, height, width), generator=generator)
    void = torch.rand(batch, height, width, generator=generator) < ignored
    return class_logits, mask_logits, labels.masked_fill(void, IGNORED)


def losses_of(class_logits, mask_logits, labels, points=32):
    loss = MaskClassificationLoss(num_classes=class_logits.shape[-1] - 1, num_points=points)
    torch.manual_seed(0)
    segments = segments_of_label_maps(labels, LabelIds(loss.num_classes, IGNORED))
    return loss(class_logits, mask_logits, segments)


@given(**SIZES)
def test_losses_and_gradients_are_finite(**sizes):
    class_logits, mask_logits, labels = make(**sizes)
    class_logits.requires_grad_(), mask_logits.requires_grad_()
    losses = losses_of(class_logits, mask_logits, labels)
    assert all(torch.isfinite(value) and value >= 0 for value in losses.values())
    sum(losses.values()).backward()
    for logits in (class_logits, mask_logits):
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


@given(**SIZES)
def test_an_image_without_labels_adds_nothing(**sizes):
    class_logits, mask_logits, labels = make(**sizes)
    labels[0] = IGNORED
    class_logits.requires_grad_(), mask_logits.requires_grad_()
    losses = losses_of(class_logits, mask_logits, labels)
    sum(losses.values()).backward()
    assert not class_logits.grad[0].any()
    assert not mask_logits.grad[0].any()
    if sizes['batch'] == 1:
        assert all(value == 0 for value in losses.values())


@given(**dict(SIZES, ignored=st.just(0.0), height=st.just(1), width=st.just(1)))
def test_images_without_labels_change_no_loss_of_the_others(**sizes):
    class_logits, mask_logits, labels = make(**sizes)
    expected = losses_of(class_logits, mask_logits, labels)
    more = [torch.cat([part, part.flip(0)]) for part in (class_logits, mask_logits)]
    found = losses_of(*more, torch.cat([labels, torch.full_like(labels, IGNORED)]))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


@given(**dict(SIZES, ignored=st.just(0.0), height=st.just(1), width=st.just(1)))
def test_the_order_of_images_and_prompts_does_not_matter(**sizes):
    """With label maps of one pixel, where all points are the same."""
    class_logits, mask_logits, labels = make(**sizes)
    expected = losses_of(class_logits, mask_logits, labels)
    order = torch.randperm(sizes['batch'], generator=torch.Generator().manual_seed(sizes['seed']))
    prompts = torch.randperm(
        sizes['prompts'], generator=torch.Generator().manual_seed(sizes['seed'])
    )
    found = losses_of(
        class_logits[order][:, prompts], mask_logits[order][:, prompts], labels[order]
    )
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


@given(**SIZES)
def test_points_lie_on_labelled_pixels(**sizes):
    _, _, labels = make(**sizes)
    torch.manual_seed(sizes['seed'])
    coordinates, found = draw_labelled_points(labels, 20, IGNORED)
    assert (coordinates > 0).all()
    assert (coordinates < 1).all()
    height, width = labels.shape[1:]
    x = (coordinates[..., 0] * width).floor().long()
    y = (coordinates[..., 1] * height).floor().long()
    for image, label_map in enumerate(labels):
        assert torch.equal(label_map[y[image], x[image]], found[image])
        if (label_map != IGNORED).any():
            assert (found[image] != IGNORED).all()


@pytest.mark.parametrize('number', [0, -1, 12.5, '512', True, None])
def test_other_numbers_of_points_are_refused(number):
    with pytest.raises(ValueError, match=f'num_points must be a positive integer, got {number!r}'):
        MaskClassificationLoss(num_classes=3, num_points=number)


@pytest.mark.parametrize('size', [(5000, 3), (1, 20_000), (20_000, 1)])
def test_very_long_label_maps(size):
    class_logits, mask_logits, labels = make(2, 3, 2, *size, 0.5, 0)
    losses = losses_of(class_logits, mask_logits, labels)
    assert all(torch.isfinite(value) for value in losses.values())
    labels.fill_(IGNORED)[1, -1, -1] = 1
    coordinates, found = draw_labelled_points(labels, 50, IGNORED)
    assert set(found[1].tolist()) == {1}
    centre = torch.tensor([(size[1] - 0.5) / size[1], (size[0] - 0.5) / size[0]])
    torch.testing.assert_close(coordinates[1], centre.expand(50, 2))


@given(
    mask=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    frame=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 99),
)
def test_masks_are_read_as_interpolation_reads_them(mask, frame, seed):
    """To whatever size, up or down."""
    masks = torch.randn(2, 3, *mask, generator=torch.Generator().manual_seed(seed))
    expected = F.interpolate(masks, size=frame, mode='bilinear', align_corners=False).flatten(2)
    rows, columns = torch.meshgrid(*map(torch.arange, frame), indexing='ij')
    centres = torch.stack([(columns + 0.5) / frame[1], (rows + 0.5) / frame[0]], dim=-1)
    found = sample_masks(masks, centres.view(1, -1, 2).expand(2, -1, -1))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings('ignore:.*torch.cuda.amp.autocast:FutureWarning')
@given(**SIZES)
def test_matching_costs_what_mmseg_s_does(**sizes):
    """Which pairs are the best is not unique, what they cost is."""
    class_logits, mask_logits, labels = make(**sizes)
    mask_logits, labels = mask_logits.flatten(2), labels.flatten(1).repeat(1, 16)[:, :16]
    classes = torch.arange(sizes['classes']).expand(len(labels), -1)
    matcher = PromptMatcher(2.0, 5.0, 5.0)
    matches = matcher(class_logits, mask_logits, labels.where(labels != IGNORED, -1), classes)
    costs = matcher.costs(class_logits, mask_logits, labels, classes)
    assigner = HungarianAssigner(
        [
            dict(type='ClassificationCost', weight=2.0),
            dict(type='CrossEntropyLossCost', use_sigmoid=True, weight=5.0),
            dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0),
        ]
    )
    for image in range(len(labels)):
        present = labels[image][labels[image] != IGNORED].unique()
        own = matches.images == image
        assert own.sum() == min(len(present), sizes['prompts'])
        if not len(present):
            continue
        prompts, order = assigner.assign(
            InstanceData(scores=class_logits[image], masks=mask_logits[image]),
            InstanceData(labels=present, masks=(labels[image] == present[:, None]).float()),
        )
        cost = costs[image]
        expected = cost[prompts, present[order]].sum()
        found = cost[matches.prompts[own], matches.classes[own]].sum()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@given(
    prompts=st.integers(1, 4),
    classes=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_matching_is_the_best_of_all(prompts, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    class_logits = torch.randn(1, prompts, classes + 1, generator=generator)
    mask_logits = torch.randn(1, prompts, 12, generator=generator)
    labels = torch.randint(classes, (1, 12), generator=generator)
    matcher, each = PromptMatcher(2.0, 5.0, 5.0), torch.arange(classes)
    matches = matcher(class_logits, mask_logits, labels, each[None])
    costs = matcher.costs(class_logits, mask_logits, labels, each[None])
    cost = costs[0].double().numpy()
    present = sorted(set(labels[0].tolist()))
    size = min(prompts, len(present))
    assert len(matches.prompts) == size
    assert len(set(matches.prompts.tolist())) == len(set(matches.classes.tolist())) == size
    best = min(
        sum(cost[p, c] for p, c in zip(chosen, columns))
        for chosen in itertools.permutations(range(prompts), size)
        for columns in itertools.combinations(present, size)
    )
    found = cost[matches.prompts.numpy(), matches.classes.numpy()].sum()
    np.testing.assert_allclose(found, best, rtol=1e-5, atol=1e-5)
