"""Label maps, against mmseg's postprocessing of a score for each class at each pixel.

Image encoder and mask decoder run with random weights, whose masks and class logits nobody would
have; so those of ``label_maps.py``, which are like a trained model's, take their place before they
are made into label maps.
"""

import argparse
from functools import partial
from typing import Callable, Dict, Iterator, Optional

import torch
from torch import Tensor

from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
from mmseg_ssprompt.models.base import ImageFeatures
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput
from mmseg_ssprompt.models.sam.sam_variants import get_variant

from .label_maps import draw_trained_masks
from .model import build_model, make_samples
from .rows import Row, compare_peaks, find_difference, take_turns

__all__ = ['PEAKS', 'Prediction', 'compare']


class Prediction:
    """The whole model on images as large as its input frame."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.model = build_model(args).eval()
        side = self.model.decode_head.segmenter.prompt_encoder.image_size
        self.images = torch.randn(args.batch, 3, side, side).to(args.device)
        head, size = self.model.decode_head, get_variant(args.variant).embedding_size
        self._decode = head.forward
        head.forward = self._decode_and_replace  # mmseg calls it itself
        self.drawn = [
            each.to(args.device)
            for each in draw_trained_masks(args.classes, args.prompts, 4 * size)
        ]

    def _decode_and_replace(self, features: ImageFeatures) -> HeadOutput:
        """As long as decoding takes, and what a trained model would give."""
        decoded = self._decode(features)
        drawn = (each.expand(len(decoded.mask_logits), *each.shape) for each in self.drawn)
        output = HeadOutput(*drawn)
        for each, own in zip(output[:2], decoded):
            if each.shape != own.shape:
                raise AssertionError(f'drawn {tuple(each.shape)}, decoded {tuple(own.shape)}')
        return output

    @torch.no_grad()
    def run(self, logits: bool, count: Optional[int] = None) -> Tensor:
        """Label maps (B, 1, H, W), with the scores of all classes or without.

        Args:
            logits: Whether predictions hold scores.
            count: Pictures. Defaults to None: as in a batch.
        """
        self.model.test_cfg.logits = logits
        images = self.images
        if count is not None:
            images = images[:1].expand(count, *images.shape[1:])
        samples = make_samples(self.model, len(images), tuple(images.shape[2:]))
        predicted = self.model(images, samples, mode='predict')
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
