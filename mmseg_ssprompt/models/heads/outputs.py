"""What masks with class logits are made into: a semantic map, instances or a panoptic map.

Pure functions, with the formulas of SEEM and Mask2Former. Masks that are to be compared at the size
of the photograph come at their own resolution, with the function that resizes them: a few at a time
are in memory at the large size.
"""

from typing import Any, Callable, Collection, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ...segments import PredictedSegment

__all__ = ['Panoptic', 'Resize', 'find_boxes', 'instances', 'panoptic', 'semantic']

#: Takes (n, h, w) masks to (n, H, W).
Resize = Callable[[Tensor], Tensor]

MASKS_AT_A_TIME = 8


class Panoptic(NamedTuple):
    """A panoptic map."""

    data: Tensor  # (1, H, W) int32, the id of each pixel's segment, or 0
    segments_info: List[PredictedSegment]


def semantic(mask_logits: Tensor, class_logits: Tensor, resize: Optional[Resize] = None) -> Tensor:
    """``sum_n softmax(class)_n * sigmoid(mask)_n`` (MaskFormer), without "no object".

    Args:
        mask_logits: (..., N, h, w); (N, h, w) with ``resize``.
        class_logits: (..., N, C + 1), the last for "no object".
        resize: Of masks. Defaults to None: (H, W) is (h, w).

    Returns:
        (..., C, H, W) float32, not negative.
    """
    with torch.autocast(mask_logits.device.type, enabled=False):
        class_scores = class_logits.float().softmax(dim=-1)[..., :-1]
        if resize is None:
            masks = mask_logits.float().sigmoid()
            return torch.einsum('...nc,...nhw->...chw', class_scores, masks)
        total: Any = None
        for start, logits in _each_chunk(mask_logits, resize):
            masks = logits.sigmoid().flatten(1)  # (n, H W)
            own = class_scores[start : start + len(masks)].T  # (C, n)
            if total is None:
                shape = logits.shape[1:]
                total = masks.new_zeros(len(own), masks.shape[1])
            total.addmm_(own, masks)  # in place: it may be as large as all the rest
        scores: Tensor = total.unflatten(1, shape)
        return scores


def instances(
    mask_logits: Tensor,
    class_logits: Tensor,
    things: Optional[Collection[int]] = None,
    max_per_image: int = 100,
    quality: Optional[Tensor] = None,
    resize: Optional[Resize] = None,
) -> InstanceData:
    """The best pairs of a mask and a class, each an object.

    Of all N C pairs those with the highest class scores, at most ``max_per_image``, are taken; then
    those whose class is a thing stay. A pixel belongs to a mask where its logit is above 0. The
    score is the class score times the mean of ``sigmoid(mask)`` over the mask, 0 for an empty mask.

    Args:
        mask_logits: (N, h, w), of one image.
        class_logits: (N, C + 1), the last for "no object".
        things: Classes of which objects are told apart. Defaults to None: all.
        max_per_image: How many pairs are taken.
        quality: (N,), by which scores are multiplied, such as predicted IoUs. Defaults to None.
        resize: Of masks. Defaults to None: (H, W) is (h, w).

    Returns:
        ``labels`` (n,) int64, ``scores`` (n,) float32, ``masks`` (n, H, W) bool and ``bboxes``
        (n, 4) float32 (:func:`find_boxes`), by descending score.
    """
    class_scores = class_logits.float().softmax(dim=-1)[:, :-1]
    count = class_scores.shape[1]
    scores, pairs = class_scores.flatten().topk(min(max_per_image, class_scores.numel()))
    labels = pairs % count
    if things is not None:
        is_thing = _is_in(things, count, labels.device)[labels]
        scores, pairs, labels = scores[is_thing], pairs[is_thing], labels[is_thing]
    prompts = torch.div(pairs, count, rounding_mode='floor')
    chosen, position = prompts.unique(return_inverse=True)  # a mask may have several classes
    masks, confidences = [_no_masks(mask_logits, resize)], [class_scores.new_zeros(0)]
    for _, logits in _each_chunk(mask_logits[chosen], resize):
        inside = logits > 0
        # Summed without the masks' probabilities beside each other.
        total = torch.where(inside, logits.sigmoid(), 0).sum(dim=(1, 2))
        confidences.append(total / (inside.sum(dim=(1, 2)) + 1e-6))
        masks.append(inside)
    if quality is not None:
        scores = scores * quality.float()[prompts]
    scores = scores * torch.cat(confidences)[position]
    order = scores.argsort(descending=True, stable=True)
    # One copy of the masks, instead of one in the order of prompts and another by score.
    position = position[order]
    found = torch.cat(masks)
    del masks
    return InstanceData(
        labels=labels[order],
        scores=scores[order],
        masks=found[position],
        bboxes=find_boxes(found)[position],
    )


def panoptic(
    mask_logits: Tensor,
    class_logits: Tensor,
    things: Collection[int],
    object_mask_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
    quality: Optional[Tensor] = None,
    resize: Optional[Resize] = None,
) -> Panoptic:
    """Segments that do not overlap.

    A prompt is kept if its class, the one with the highest score, is not "no object" and the score
    is above ``object_mask_threshold``. Each pixel goes to the prompt with the highest product of
    score and ``sigmoid(mask)``, and is part of its segment where ``sigmoid(mask)`` is at least one
    half. A prompt that gets less than ``overlap_threshold`` of the pixels of its mask, or no pixel
    of its mask, makes no segment. Segments of one class that is stuff are one, with the best score.

    Args:
        mask_logits: (N, h, w), of one image.
        class_logits: (N, C + 1), the last for "no object".
        things: Classes of which objects are told apart; all others are stuff.
        object_mask_threshold: Of scores.
        overlap_threshold: Of what is left of a mask.
        quality: (N,), by which scores are multiplied before the threshold. Defaults to None.
        resize: Of masks. Defaults to None: (H, W) is (h, w).

    Returns:
        Ids from 1 on, in the order of prompts; 0 where no segment is.
    """
    class_scores = class_logits.float().softmax(dim=-1)
    scores, labels = class_scores.max(dim=-1)
    if quality is not None:
        scores = scores * quality.float()
    kept = (labels != class_scores.shape[-1] - 1) & (scores > object_mask_threshold)
    scores, labels = scores[kept], labels[kept]
    best: Any = None
    masked_areas = []
    for start, logits in _each_chunk(mask_logits[kept], resize):
        masks = logits.sigmoid()
        inside = masks >= 0.5
        masked_areas.append(inside.sum(dim=(1, 2)))
        value, prompt = (masks * scores[start : start + len(masks), None, None]).max(dim=0)
        is_inside = inside.gather(0, prompt[None])[0]
        prompt = (prompt + start).int()
        if best is None:
            best, winner, won_inside = value, prompt, is_inside
            continue
        better = value > best
        best = torch.where(better, value, best)
        winner = torch.where(better, prompt, winner)
        won_inside = torch.where(better, is_inside, won_inside)
    if best is None:
        nothing = _no_masks(mask_logits, resize)
        return Panoptic(nothing.new_zeros(1, *nothing.shape[1:], dtype=torch.int32), [])
    count = len(scores)
    areas = torch.stack(
        [
            winner.flatten().bincount(minlength=count),
            torch.cat(masked_areas),
            winner[won_inside].bincount(minlength=count),
        ]
    )
    ids, infos = _number_segments(
        labels.tolist(), scores.tolist(), areas.T.tolist(), set(things), overlap_threshold
    )
    numbers = torch.tensor([*ids, 0], dtype=torch.int32, device=winner.device)
    data = numbers[torch.where(won_inside, winner, count)]
    return Panoptic(data[None], infos)


def _number_segments(
    labels: List[int],
    scores: List[float],
    areas: List[List[int]],
    things: Collection[int],
    overlap_threshold: float,
) -> Tuple[List[int], List[PredictedSegment]]:
    """The id of each kept prompt's segment, 0 if it makes none, and the segments."""
    ids: List[int] = []
    infos: List[PredictedSegment] = []
    stuff: Dict[int, PredictedSegment] = {}
    for label, score, (won, masked, final) in zip(labels, scores, areas):
        if not (won and masked and final) or won / masked < overlap_threshold:
            ids.append(0)
            continue
        info = stuff.get(label)
        if info is None:
            info = PredictedSegment(
                id=len(infos) + 1, category_id=label, isthing=label in things, area=0, score=score
            )
            infos.append(info)
            if label not in things:
                stuff[label] = info
        info['area'] += final
        info['score'] = max(info['score'], score)
        ids.append(info['id'])
    return ids, infos


def find_boxes(masks: Tensor) -> Tensor:
    """The smallest boxes around masks (n, H, W) bool: (n, 4) float32.

    Left, top, right and bottom in pixels, the last two exclusive, so that a box is as wide as its
    right minus its left side. Zeros for an empty mask.
    """
    boxes = []
    for size, any_of in ((masks.shape[2], masks.any(dim=1)), (masks.shape[1], masks.any(dim=2))):
        places = torch.arange(size, device=masks.device)
        first = torch.where(any_of, places, size).amin(dim=1)
        last = torch.where(any_of, places + 1, 0).amax(dim=1)
        boxes.append((torch.minimum(first, last), last))
    (left, right), (top, bottom) = boxes
    return torch.stack([left, top, right, bottom], dim=1).float()


def _each_chunk(mask_logits: Tensor, resize: Optional[Resize]) -> Iterator[Tuple[int, Tensor]]:
    """A few masks at a time, float32 and resized, with the number of the first of them."""
    for start in range(0, len(mask_logits), MASKS_AT_A_TIME):
        chunk = mask_logits[start : start + MASKS_AT_A_TIME].float()
        yield start, chunk if resize is None else resize(chunk)


def _no_masks(mask_logits: Tensor, resize: Optional[Resize]) -> Tensor:
    """(0, H, W) bool, of the size that masks have."""
    ((_, sized),) = _each_chunk(mask_logits[:1], resize)
    return sized[:0] > 0


def _is_in(classes: Collection[int], count: int, device: torch.device) -> Tensor:
    """Whether each of ``count`` classes is one of some: (count,) bool."""
    return torch.tensor([number in classes for number in range(count)], device=device)
