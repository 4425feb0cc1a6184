"""The region classifier: its share of a training step, and what more classes cost."""

import argparse
from functools import partial
from typing import Callable, Dict, Iterator

import torch
import torch.nn.functional as F

from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
from mmseg_ssprompt.models import CLIPRegionClassifier
from mmseg_ssprompt.models.base import Decoded, ImageFeatures
from mmseg_ssprompt.models.clip.clip_variants import get_clip_variant
from mmseg_ssprompt.models.sam.sam_variants import get_variant

from .rows import Row, compare_peaks, take_turns
from .train import TrainingStep

__all__ = ['PEAKS', 'compare']

MANY = 16  # times as many classes


class Classification:
    """N masks of each image, C classes and CLIP's tokens of the images, all at random."""

    def __init__(self, args: argparse.Namespace, classes: int) -> None:
        torch.manual_seed(0)
        device, variant = torch.device(args.device), 'tiny' if args.small else 'ViT-B/16'
        sam, clip = get_variant(args.variant), get_clip_variant(variant)
        self.classifier = CLIPRegionClassifier(sam.prompt_embed_dim, clip.embed_dims, variant).to(
            device
        )
        tokens = clip.tokens_shape(96 if args.small else 512)
        self.tokens = torch.randn(args.batch, *tokens, device=device)
        side = 4 * sam.embedding_size
        masks = torch.randn(args.batch, args.prompts, side, side, device=device)
        self.masks = masks.requires_grad_()
        self.iou = torch.rand(args.batch, args.prompts, device=device).requires_grad_()
        prompts = torch.randn(classes, clip.embed_dims, device=device)
        self.prompts = F.normalize(prompts, dim=-1)  # whose gradients are not the classifier's

    def run(self) -> None:
        """Forward and backward."""
        decoded = Decoded(self.masks, None, self.iou)
        features = ImageFeatures((), self.tokens, self.tokens)
        self.classifier(decoded, self.prompts, features).square().mean().backward()


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time beside that of the step that it is a part of, and memory of many classes."""
    step, part = TrainingStep(args, clip=True), Classification(args, args.classes)
    step.from_embedding(), part.run()
    name = 'region classifier, of a training step from embedded samples'
    yield take_turns(args, name, part.run, step.from_embedding)
    if not args.small:
        name = f'region classifier, C = {MANY * args.classes} over C = {args.classes}, peak memory'
        yield compare_peaks(args, name, 'classify-many', 'classify')


def _peak(times: int, args: argparse.Namespace) -> float:
    case = Classification(args, times * args.classes)
    return measure_peak(case.run, torch.device(args.device))


PEAKS: Dict[str, Callable[[argparse.Namespace], float]] = {
    'classify': partial(_peak, 1),
    'classify-many': partial(_peak, MANY),
}
