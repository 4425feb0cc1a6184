"""Label maps, against mmseg's postprocessing of a score for each class at each pixel."""

import argparse
from functools import partial
from typing import Callable, Dict, Iterator

import torch
from torch import Tensor

from mmseg_ssprompt.analysis.complexity.measuring import measure_peak

from .model import build_model, make_samples
from .rows import Row, compare_peaks, find_difference, take_turns

__all__ = ['PEAKS', 'compare']


class Prediction:
    """The whole model on images as large as its input frame."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.model = build_model(args).eval()
        side = self.model.decode_head.segmenter.prompt_encoder.image_size
        self.images = torch.randn(args.batch, 3, side, side).to(args.device)

    @torch.no_grad()
    def run(self, logits: bool) -> Tensor:
        """Label maps (B, 1, H, W), with the scores of all classes or without."""
        self.model.test_cfg.logits = logits
        samples = make_samples(self.model, len(self.images), tuple(self.images.shape[2:]))
        predicted = self.model(self.images, samples, mode='predict')
        return torch.stack([sample.pred_sem_seg.data for sample in predicted])


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time and peak memory of predicting."""
    case = Prediction(args)
    difference = find_difference(case.run(logits=False), case.run(logits=True), tolerance=0)
    name, runs = f'predict, C = {args.classes}', (partial(case.run, x) for x in (False, True))
    yield take_turns(args, f'{name}, time', *runs, difference)
    if not args.small:
        yield compare_peaks(args, f'{name}, peak memory', 'predict-labels', 'predict-logits')


def _peak(logits: bool, args: argparse.Namespace) -> float:
    return measure_peak(partial(Prediction(args).run, logits), torch.device(args.device))


PEAKS: Dict[str, Callable[[argparse.Namespace], float]] = {
    'predict-labels': partial(_peak, False),
    'predict-logits': partial(_peak, True),
}
