"""Semantic maps, instances and panoptic maps: SEEM's own, and what its golden files do not show."""

from functools import partial
from typing import Any, Dict, List

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_ssprompt.models.heads.outputs import (
    MASKS_AT_A_TIME,
    find_boxes,
    instances,
    panoptic,
    semantic,
)
from seem_files import read_golden, read_json

THINGS = (0, 2, 5)  # of golden case 5
EDGES = {case['name']: case for case in read_json('golden/case7_output_edges.json')['cases']}


def official(infos: List[Any]) -> List[Dict[str, Any]]:
    """Entries of segments, with what SEEM's have."""
    return [{key: info[key] for key in ('id', 'isthing', 'category_id')} for info in infos]


def random_case(prompts: int = 19, classes: int = 5, seed: int = 0):
    """Smooth masks, and class logits of which some are sure."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 6 * torch.randn(1, prompts, 4, 5, generator=generator)
    masks = F.interpolate(coarse, size=(20, 30), mode='bilinear', align_corners=False)[0]
    return masks, 4 * torch.randn(prompts, classes + 1, generator=generator)


# SEEM's own


def test_the_semantic_map_is_seem_s():
    golden, _ = read_golden('case5_inference')
    found = semantic(golden['mask_pred'], golden['mask_cls'])
    torch.testing.assert_close(found, golden['semantic'], atol=1e-5, rtol=0)


@pytest.mark.parametrize('thresholds', ['v1', 'demo', 'low'])
def test_the_panoptic_map_is_seem_s(thresholds):
    golden, case = read_golden('case5_inference')
    expected = case['panoptic'][thresholds]
    found = panoptic(
        *(golden['mask_pred'], golden['mask_cls'], THINGS),
        *(expected['object_mask_threshold'], expected['overlap_threshold']),
    )
    assert torch.equal(found.data[0], golden[f'panoptic.{thresholds}'])
    assert found.data.dtype == torch.int32
    assert official(found.segments_info) == expected['segments_info']


@pytest.mark.parametrize(
    ('name', 'things', 'count'),
    [('things', THINGS, 20), ('all', None, 20), ('things_40', THINGS, 40)],
)
def test_instances_are_seem_s(name, things, count):
    golden, _ = read_golden('case5_inference')
    scores, labels, masks = (
        golden[f'instances.{name}.{part}'] for part in ('scores', 'pred_classes', 'pred_masks')
    )
    order = scores.argsort(descending=True)
    found = instances(golden['mask_pred'], golden['mask_cls'], things, count)
    torch.testing.assert_close(found.scores, scores[order], atol=1e-5, rtol=0)
    assert torch.equal(found.labels, labels[order])
    assert torch.equal(found.masks, masks[order])


@pytest.mark.parametrize('name', EDGES)
def test_edges_are_seem_s(name):
    case = EDGES[name]
    expected, things = case['expected'], [0]
    logits = torch.tensor(case['mask_logits']), torch.tensor(case['class_logits'])
    torch.testing.assert_close(
        semantic(*logits), torch.tensor(expected['semantic']), atol=1e-5, rtol=0
    )
    thresholds = case['object_mask_threshold'], case['overlap_threshold']
    found = panoptic(*logits, things, *thresholds)
    assert found.data[0].tolist() == expected['panoptic']
    assert official(found.segments_info) == expected['segments_info']
    objects = instances(*logits, things, case['topk'])
    scores = torch.tensor(expected['instance_scores'])
    torch.testing.assert_close(objects.scores, scores, atol=1e-5, rtol=0)
    assert objects.labels.tolist() == expected['instance_classes']
    assert objects.masks.tolist() == expected['instance_masks']


# A few masks at a time


def naive_panoptic(masks: Tensor, logits: Tensor, things: Any, least: float, overlap: float):
    """All masks at once, as the definition reads."""
    scores, labels = logits.softmax(-1).max(-1)
    kept = (labels < logits.shape[1] - 1) & (scores > least)
    soft, scores, labels = masks[kept].sigmoid(), scores[kept], labels[kept]
    data, seen = torch.zeros(masks.shape[1:], dtype=torch.int32), {}
    best = (soft * scores[:, None, None]).argmax(dim=0)
    number = 0
    for prompt, label in enumerate(labels.tolist()):
        final = (best == prompt) & (soft[prompt] >= 0.5)
        won, masked = (best == prompt).sum(), (soft[prompt] >= 0.5).sum()
        if not final.any() or won / masked < overlap:
            continue
        if label in things or label not in seen:
            number += 1
            seen[label] = number
        data[final] = seen[label]
    return data


@pytest.mark.parametrize('prompts', [1, MASKS_AT_A_TIME, 3 * MASKS_AT_A_TIME + 1])
@pytest.mark.parametrize('seed', range(3))
def test_any_number_of_masks(prompts, seed):
    masks, logits = random_case(prompts, seed=seed)
    found = panoptic(masks, logits, (0, 2), 0.3, 0.4)
    assert torch.equal(found.data[0], naive_panoptic(masks, logits, (0, 2), 0.3, 0.4))
    for info in found.segments_info:
        assert info['area'] == (found.data == info['id']).sum()
    ids = [info['id'] for info in found.segments_info]
    assert ids == list(range(1, len(ids) + 1)) and found.data.max() == len(ids)


def double(masks: Tensor) -> Tensor:
    assert len(masks) <= MASKS_AT_A_TIME
    return F.interpolate(masks[None], scale_factor=2, mode='bilinear', align_corners=False)[0]


def test_masks_are_resized_a_few_at_a_time():
    masks, logits = random_case(21)
    large = F.interpolate(masks[None], scale_factor=2, mode='bilinear', align_corners=False)[0]
    torch.testing.assert_close(semantic(masks, logits, double), semantic(large, logits))
    found, expected = (
        panoptic(masks, logits, (1,), 0.3, 0.4, None, double),
        panoptic(large, logits, (1,), 0.3, 0.4),
    )
    assert torch.equal(found.data, expected.data)
    assert found.segments_info == expected.segments_info
    found, expected = instances(masks, logits, resize=double), instances(large, logits)
    for part in ('labels', 'scores', 'masks', 'bboxes'):
        torch.testing.assert_close(found[part], expected[part])


def test_a_batch_of_semantic_maps():
    cases = [random_case(seed=seed) for seed in range(2)]
    found = semantic(*(torch.stack(each) for each in zip(*cases)))
    torch.testing.assert_close(found, torch.stack([semantic(*case) for case in cases]))


# Scores and boxes


def one_object(logit: float = 3.0):
    masks = torch.full((1, 5, 7), -9.0)
    masks[0, 1:3, 2:6] = logit
    return masks, torch.tensor([[2.0, 0.0]])


def test_boxes_of_masks():
    masks = torch.zeros(4, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 6] = True
    masks[2] = True
    expected = [[2, 1, 6, 3], [6, 4, 7, 5], [0, 0, 7, 5], [0, 0, 0, 0]]
    assert find_boxes(masks).tolist() == expected
    assert instances(*one_object()).bboxes.tolist() == [[2, 1, 6, 3]]


def test_an_object_by_hand():
    found = instances(*one_object())
    confidence = torch.tensor(3.0).sigmoid() * torch.tensor(2.0).sigmoid()
    assert found.scores.tolist() == pytest.approx([confidence.item()], abs=1e-5)
    assert found.labels.tolist() == [0] and found.masks[0].sum() == 8


@pytest.mark.parametrize('quality', [1.0, 0.5])
def test_the_quality_of_masks_is_part_of_scores(quality):
    quality = torch.tensor([quality])
    plain, rated = instances(*one_object()), instances(*one_object(), quality=quality)
    torch.testing.assert_close(rated.scores, plain.scores * quality)
    run = partial(panoptic, *one_object(), (0,), 0.8)
    assert [info['score'] for info in run().segments_info] == pytest.approx([0.880797], abs=1e-5)
    assert len(run(quality=quality).segments_info) == (quality > 0.9)


def test_the_quality_decides_between_masks():
    masks = torch.stack([torch.full((2, 2), 4.0)] * 2)
    logits = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
    for quality, label in (((1.0, 0.7), 0), ((0.7, 1.0), 1)):
        found = panoptic(masks, logits, (0, 1), 0.1, 0.1, torch.tensor(quality))
        assert [info['category_id'] for info in found.segments_info] == [label]
        (best, _) = instances(masks, logits, None, 2, torch.tensor(quality)).labels
        assert best == label


def test_fewer_pairs_than_are_wanted():
    masks, logits = random_case(3, classes=2)
    assert len(instances(masks, logits, max_per_image=100)) == 6
    assert len(instances(masks, logits, max_per_image=4)) == 4


def test_only_things_are_instances():
    masks, logits = random_case(6, classes=4)
    found = instances(masks, logits, (1, 3), 24)
    assert set(found.labels.tolist()) == {1, 3} and len(found) == 12
    everything = instances(masks, logits, None, 24)
    keep = (everything.labels == 1) | (everything.labels == 3)
    torch.testing.assert_close(found.scores, everything.scores[keep])


def test_nothing_is_found():
    masks, _ = random_case(6)
    logits = torch.tensor([[0.0, 9.0]]).expand(6, -1)  # "no object"
    found = panoptic(masks, logits, (0,), resize=double)
    assert found.segments_info == [] and found.data.shape == (1, 40, 60) and not found.data.any()
    objects = instances(masks, logits, (), resize=double)
    assert len(objects) == 0 and objects.masks.shape == (0, 40, 60)
    assert objects.bboxes.shape == (0, 4) and objects.masks.dtype == torch.bool


def test_stuff_is_one_segment_with_its_best_score():
    masks = torch.stack([torch.tensor([[9.0, -9.0]]), torch.tensor([[-9.0, 9.0]])])
    logits = torch.tensor([[2.0, 0.0], [3.0, 0.0]])
    (info,) = panoptic(masks, logits, ()).segments_info
    assert info['area'] == 2 and info['score'] == pytest.approx(0.952574, abs=1e-5)
    assert not info['isthing']


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_whatever_comes(dtype):
    masks, logits = (part.to(dtype) for part in random_case())
    with torch.autocast('cpu', dtype):
        assert torch.equal(semantic(masks, logits), semantic(masks.float(), logits.float()))
        found, expected = instances(masks, logits), instances(masks.float(), logits.float())
    assert torch.equal(found.scores, expected.scores) and found.scores.dtype == torch.float32
