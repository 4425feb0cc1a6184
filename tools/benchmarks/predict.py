"""Label maps, against mmseg's postprocessing of a score for each class at each pixel."""

import argparse
from functools import partial
from typing import Callable, Dict, Iterator

import torch
from torch import Tensor

from .model import build_model, make_samples
from .rows import Row, check_equal, compare_peaks, peak_gb, take_turns

__all__ = ['PEAKS', 'compare']


class Prediction:
    """The whole model on images as large as its input frame."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.model = build_model(args).eval()
        side = self.model.decode_head.prompt_encoder.image_size
        self.images = torch.randn(args.batch, 3, side, side)

    @torch.no_grad()
    def run(self, logits: bool) -> Tensor:
        """Label maps (B, 1, H, W), with the scores of all classes or without."""
        self.model.test_cfg.logits = logits
        samples = make_samples(self.model, len(self.images))
        predicted = self.model(self.images, samples, mode='predict')
        return torch.stack([sample.pred_sem_seg.data for sample in predicted])


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time and peak memory of predicting."""
    case = Prediction(args)
    check_equal(case.run(logits=False), case.run(logits=True))
    name = f'predict, C = {case.model.decode_head.num_classes}'
    yield take_turns(args, f'{name}, time', partial(case.run, False), partial(case.run, True))
    if not args.small:
        yield compare_peaks(args, f'{name}, peak memory', 'predict-labels', 'predict-logits')


def _peak(logits: bool, args: argparse.Namespace) -> float:
    case = Prediction(args)
    before = peak_gb()
    case.run(logits)
    return peak_gb() - before


PEAKS: Dict[str, Callable[[argparse.Namespace], float]] = {
    'predict-labels': partial(_peak, False),
    'predict-logits': partial(_peak, True),
}
