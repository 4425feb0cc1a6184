"""Instances and panoptic maps of masks, against the same formulas on all masks enlarged at once.

The masks and their class logits are those of ``label_maps.py``, but every other prompt shows no
object. Even classes are things.
"""

import argparse
from functools import partial
from typing import Callable, Dict, Iterator

import torch
from torch import Tensor

from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
from mmseg_ssprompt.models.heads.outputs import instances, panoptic
from mmseg_ssprompt.models.segmentors.resized_masks import resize_masks

from .label_maps import CERTAIN, FRAME, PLACES, SMALL_FRAME, draw_trained_masks
from .rows import Row, compare_peaks, find_difference, take_turns

__all__ = ['PEAKS', 'compare']

#: Of a mask's score, and of what others leave of it.
SCORE, OVERLAP = 0.5, 0.8
MOST = 100  # pairs of a mask and a class


class Outputs:
    """Ways from the masks of a picture to what is found in it, for a picture as large as the frame.

    Each gives a tensor that is compared: the panoptic map; or label, score and pixels of each
    object, by descending score.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.side = SMALL_FRAME if args.small else FRAME
        masks, logits = draw_trained_masks(args.classes, args.prompts, self.side // PLACES)
        logits[::2] = 0
        logits[::2, -1] = CERTAIN
        self.masks, self.logits = masks.to(args.device), logits.to(args.device)
        self.things = range(0, args.classes, 2)

    def _resize(self, masks: Tensor) -> Tensor:
        frame = self.side, self.side
        return resize_masks(masks, frame, dict(ori_shape=frame), bicubic=False)

    @torch.no_grad()
    def instances(self) -> Tensor:
        """A few masks at a time."""
        found = instances(self.masks, self.logits, self.things, MOST, None, self._resize)
        return _describe(found.labels, found.scores, found.masks)

    @torch.no_grad()
    def plain_instances(self) -> Tensor:
        """All masks at once, as Mask2Former does."""
        masks, scores = self._resize(self.masks), self.logits.softmax(-1)[:, :-1]
        best, pairs = scores.flatten().topk(MOST if scores.numel() > MOST else scores.numel())
        labels = pairs % scores.shape[1]
        is_thing = torch.tensor([label in self.things for label in labels.tolist()])
        is_thing = is_thing.to(labels.device)
        best, labels, pairs = best[is_thing], labels[is_thing], pairs[is_thing]
        masks = masks[pairs // scores.shape[1]]
        inside = (masks > 0).float()
        weights = (masks.sigmoid().flatten(1) * inside.flatten(1)).sum(1)
        best = best * weights / (inside.flatten(1).sum(1) + 1e-6)
        order = best.argsort(descending=True, stable=True)
        return _describe(labels[order], best[order], inside[order])

    @torch.no_grad()
    def panoptic(self) -> Tensor:
        """A few masks at a time."""
        found = panoptic(
            *(self.masks, self.logits, self.things, SCORE, OVERLAP, None, self._resize)
        )
        return found.data

    @torch.no_grad()
    def plain_panoptic(self) -> Tensor:
        """All masks at once, as Mask2Former does."""
        scores, labels = self.logits.softmax(-1).max(-1)
        kept = (labels != self.logits.shape[-1] - 1) & (scores > SCORE)
        scores, labels = scores[kept], labels[kept].tolist()
        masks = self._resize(self.masks)[kept].sigmoid()
        winner = (scores[:, None, None] * masks).argmax(0)
        ids = torch.zeros_like(winner, dtype=torch.int32)
        count, stuff = 0, {}
        for number, label in enumerate(labels):
            inside = masks[number] >= 0.5
            won = winner == number
            final = won & inside
            area, own = int(won.sum()), int(inside.sum())
            if not (area and own and bool(final.any())) or area / own < OVERLAP:
                continue
            if label in stuff:
                ids[final] = stuff[label]
                continue
            count += 1
            if label not in self.things:
                stuff[label] = count
            ids[final] = count
        return ids[None]


def _describe(labels: Tensor, scores: Tensor, masks: Tensor) -> Tensor:
    """Of each object its class, score and the share of pixels: (3, n)."""
    pixels = masks.flatten(1).sum(1) / masks[0].numel()
    return torch.stack([labels.float(), scores, pixels.float()])


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time and peak memory of each output."""
    case = Outputs(args)
    for output in ('instances', 'panoptic'):
        ours, plain = getattr(case, output), getattr(case, f'plain_{output}')
        found = ours()
        if len(found.unique()) < 3:
            raise AssertionError(f'expected objects to compare in {output}, found {found.unique()}')
        difference = find_difference(found, plain())
        name = f'{output} of {args.prompts} masks at {case.side} x {case.side}'
        yield take_turns(args, name, ours, plain, difference)
        if not args.small:
            yield compare_peaks(args, f'{name}, peak memory', output, f'plain-{output}')


def _peak(way: str, args: argparse.Namespace) -> float:
    return measure_peak(getattr(Outputs(args), way), torch.device(args.device))


PEAKS: Dict[str, Callable[[argparse.Namespace], float]] = {
    way.replace('_', '-'): partial(_peak, way)
    for way in ('instances', 'plain_instances', 'panoptic', 'plain_panoptic')
}
