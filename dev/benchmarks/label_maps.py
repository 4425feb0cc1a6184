"""Label maps of scores, against mmseg's postprocessing and enlarging of all classes at once.

The scores are drawn with a fixed seed, at a quarter of the frame's sides. "Trained" are those like
a trained model's: ``semantic`` of smooth masks with class logits. There is one round mask of random
size about each point of a jittered grid, whose edge is as wide as a few places. Each mask shows one
of 40 classes that the picture has, with a probability of about 0.7, and all others share the rest.
So 20 to 40 classes win somewhere. Noise, where each class wins somewhere, is the worst case.
"""

import argparse
import math
from functools import partial
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import torch
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
from mmseg_ssprompt.models.heads.outputs import semantic
from mmseg_ssprompt.models.heads.ssprompt_head import enlarge
from mmseg_ssprompt.models.segmentors.label_map import find_best_classes
from mmseg_ssprompt.models.segmentors.resized_masks import resize_masks

from .rows import Row, compare_peaks, find_difference, take_turns

__all__ = ['PEAKS', 'LabelMaps', 'compare', 'draw_trained_masks', 'draw_trained_scores']

FRAME, SMALL_FRAME = 1024, 128
PLACES = 4  # of the frame for one of the scores, on each side
SHOWN = 40  # classes that masks may show
CERTAIN = 6.5  # logit of a mask's class above that of the others, which are drawn around 0


def draw_trained_masks(classes: int, prompts: int, side: int) -> Tuple[Tensor, Tensor]:
    """Mask logits (N, side, side) and class logits (N, C + 1) as trained models give them."""
    random = torch.Generator().manual_seed(0)
    rows = math.isqrt(prompts)
    grid = torch.stack(torch.meshgrid(*(torch.arange(rows),) * 2, indexing='ij'), -1).view(-1, 2)
    middles = side * (grid + torch.rand(len(grid), 2, generator=random)) / rows
    radii = side / rows * (0.4 + 1.2 * torch.rand(len(grid), generator=random))
    places = torch.arange(side) + 0.5
    squares = (places[:, None, None] - middles[:, 0]) ** 2 + (places[:, None] - middles[:, 1]) ** 2
    masks = (radii - squares.sqrt()).permute(2, 0, 1)
    logits = torch.randn(len(grid), classes + 1, generator=random)
    shown = torch.randperm(classes, generator=random)[:SHOWN]
    own = shown[torch.randint(len(shown), (len(grid),), generator=random)]
    logits[torch.arange(len(grid)), own] = CERTAIN
    return masks, logits


def draw_trained_scores(classes: int, prompts: int, side: int) -> Tensor:
    """Scores (C, side, side) of :func:`draw_trained_masks`."""
    return semantic(*draw_trained_masks(classes, prompts, side))


def draw_noise(classes: int, prompts: int, side: int) -> Tensor:
    """Scores (C, side, side) of which each place is drawn by itself."""
    return torch.rand(classes, side, side, generator=torch.Generator().manual_seed(0))


class LabelMaps:
    """Ways from the scores of a picture to its label map.

    Args:
        args: Of the command line.
        draw: What draws the scores.
        times: Of the frame's sides for one of the picture's.
        side: Of the frame, in pixels. Defaults to None: 1024, or that of the miniature.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        draw: Callable[..., Tensor],
        times: int,
        side: Optional[int] = None,
    ) -> None:
        side = side or (SMALL_FRAME if args.small else FRAME)
        self.scores = draw(args.classes, args.prompts, side // PLACES).to(args.device)
        self.frame = side, side
        self.metainfo: Dict[str, Any] = dict(ori_shape=(times * side, times * side))

    @torch.no_grad()
    def ours(self) -> Tensor:
        """One class after another."""
        return find_best_classes(self.scores, self.frame, self.metainfo)

    @torch.no_grad()
    def mmseg(self) -> Tensor:
        """All classes to the frame, and from there, whatever its size, to the picture."""
        sample = SegDataSample(metainfo=self.metainfo)
        model: Any = SimpleNamespace(align_corners=False)
        BaseSegmentor.postprocess_result(model, enlarge(self.scores[None], self.frame), [sample])
        labels: Tensor = sample.pred_sem_seg.data
        return labels

    @torch.no_grad()
    def plain(self) -> Tensor:
        """All classes to the frame, and to the picture where that is larger."""
        scores = resize_masks(self.scores, self.frame, self.metainfo, bicubic=False)
        return scores.argmax(dim=0, keepdim=True)


DRAWN = dict(trained=draw_trained_scores, noise=draw_noise)
REFERENCES = dict(trained=dict(mmseg='mmseg', plain='plain enlarging'), noise=dict(mmseg='mmseg'))


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time and peak memory of label maps as large as the frame, and of twice its sides."""
    for times in (1, 2):
        for kind, draw in DRAWN.items():
            case = LabelMaps(args, draw, times)
            labels = case.ours()
            if kind == 'trained':
                _check_generator(labels.unique().tolist(), args.classes)
            name = f'label map of {times * case.frame[0]} pixels, {kind}'
            for reference, what in REFERENCES[kind].items():
                run = getattr(case, reference)
                difference = find_difference(labels, run(), tolerance=0)
                yield take_turns(args, f'{name}, over {what}', case.ours, run, difference)
            if not args.small and kind == 'trained':
                peaks = (f'label-map-{way}-{times}' for way in ('ours', 'mmseg'))
                yield compare_peaks(args, f'{name}, peak memory, over mmseg', *peaks)


def _check_generator(winners: List[int], classes: int) -> None:
    """Stop unless as many classes win somewhere as is said of these scores."""
    if classes >= 150 and not 20 <= len(winners) <= SHOWN:
        raise AssertionError(f'expected 20 to {SHOWN} classes that win somewhere: {len(winners)}')


def _peak(way: str, times: int, args: argparse.Namespace) -> float:
    case = LabelMaps(args, draw_trained_scores, times)
    return measure_peak(getattr(case, way), torch.device(args.device))


PEAKS: Dict[str, Callable[[argparse.Namespace], float]] = {
    f'label-map-{way}-{times}': partial(_peak, way, times)
    for way in ('ours', 'mmseg')
    for times in (1, 2)
}
