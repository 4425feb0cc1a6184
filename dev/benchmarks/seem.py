"""SEEM against the same computation written plainly, in images of 1024 x 512."""

import argparse
from functools import partial
from typing import Callable, Dict, Iterator, Tuple

import torch
from torch import Tensor, nn

from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
from mmseg_ssprompt.models import SEEMImageEncoder, SEEMSegmenter
from mmseg_ssprompt.models.base import Decoded, ImageFeatures
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput
from mmseg_ssprompt.models.seem.seem_file import SEEM_PARTS
from mmseg_ssprompt.models.seem.seem_variants import get_variant

from .model import build_seem_model
from .plain_seem import plain_decode, plain_encode
from .rows import Row, compare_peaks, find_difference, take_turns
from .train import Step

__all__ = ['PEAKS', 'compare']

FRAME, SMALL_FRAME = (512, 1024), (64, 128)
#: Of the length of all numbers. Each query looks where its last mask is, so that a logit which is
#: zero up to rounding lets one look at one place more, which changes its own numbers most.
TOLERANCE = 0.01
_RENAMED = {'sem_seg_head.predictor.logit_scale': 'sem_seg_head.predictor.lang_encoder.logit_scale'}


def name_weights(**parts: nn.Module) -> Dict[str, Tensor]:
    """Weights of parts, which are named as in :data:`SEEM_PARTS`, by their official names."""
    return {
        _RENAMED.get(name := SEEM_PARTS[part] + own, name): tensor
        for part, module in parts.items()
        for own, tensor in module.state_dict().items()
    }


class Decoding:
    """SEEM's own queries through its decoder, with random weights and features."""

    def __init__(self, args: argparse.Namespace, batch: int) -> None:
        torch.manual_seed(0)
        self.variant = get_variant(args.seem_variant)
        self.segmenter = SEEMSegmenter(args.seem_variant).to(args.device)
        self.weights = name_weights(mask_decoder=self.segmenter.mask_decoder)
        height, width = find_frame(args)

        def draw(stride: int) -> Tensor:
            shape = (batch, self.variant.hidden_dims, height // stride, width // stride)
            return torch.randn(shape).to(args.device)

        self.features = ImageFeatures((draw(8), draw(16), draw(32)), None, draw(4))

    def ours(self, backward: bool) -> Tensor:
        """Mask logits (B, Q, h, w), or after a backward pass the gradient of the queries."""
        queries = self.segmenter.default_prompts().clone().requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            masks = self.segmenter.decode(self.features, queries).mask_logits
        return _backward(masks, queries) if backward else masks

    def plain(self, backward: bool) -> Tensor:
        """The same, written plainly."""
        queries = self.segmenter.default_prompts().clone().requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            content, place = queries.unbind(dim=1)
            masks, _, _ = plain_decode(
                *(self.weights, self.features.levels[::-1], self.features.embedding),
                heads=self.variant.num_heads,
                content=content,
                place=place,
            )
        return _backward(masks, queries) if backward else masks


class Encoding:
    """The image encoder, with random weights and images."""

    def __init__(self, args: argparse.Namespace, batch: int) -> None:
        torch.manual_seed(0)
        self.variant = get_variant(args.seem_variant)
        self.encoder = SEEMImageEncoder(args.seem_variant).to(args.device)
        self.weights = name_weights(
            backbone=self.encoder.backbone, pixel_decoder=self.encoder.pixel_decoder
        )
        self.images = torch.randn(batch, 3, *find_frame(args)).to(args.device)

    def ours(self) -> Tensor:
        """Mask features (B, D, H / 4, W / 4)."""
        return self.encoder(self.images).embedding

    def plain(self) -> Tensor:
        """The same, written plainly."""
        return plain_encode(self.weights, self.images, self.variant)[1]


class TrainingStep(Step):
    """That of the model on SEEM."""

    def __init__(self, args: argparse.Namespace, batch: int) -> None:
        super().__init__(build_seem_model(args), batch, find_frame(args))
        self.variant = get_variant(args.seem_variant)
        encoder = self.model.backbone
        self.weights = name_weights(
            backbone=encoder.backbone,
            pixel_decoder=encoder.pixel_decoder,
            mask_decoder=self.head.segmenter.mask_decoder,
        )

    def plain(self) -> Tensor:
        """The encoder and the decoder written plainly; losses are ours."""
        levels, mask_features = plain_encode(self.weights, self.images, self.variant)
        content, place = self.head.spatial_prompts(self.head.segmenter).unbind(dim=1)
        masks, classes, _ = plain_decode(
            *(self.weights, levels, mask_features),
            heads=self.variant.num_heads,
            content=content,
            place=place,
        )
        decoded = Decoded(masks, classes, None, classes)
        logits = self.head.classifier(decoded, self.head.semantic_prompts())
        return self._step(HeadOutput(masks, logits))


def find_frame(args: argparse.Namespace) -> Tuple[int, int]:
    """(H, W) in pixels of the images."""
    return SMALL_FRAME if args.seem_variant == 'focal_tiny' else FRAME


def _find_difference(ours: Tensor, plain: Tensor) -> float:
    """The length of the difference, relative to the plain result's.

    Raises:
        AssertionError: If it is not within the tolerance.
    """
    difference = ((ours - plain).norm() / plain.norm()).item()
    if not difference <= TOLERANCE:
        raise AssertionError(f'results differ by {difference:.1e} of their length')
    return difference


def _backward(masks: Tensor, queries: Tensor) -> Tensor:
    """Gradient of a sum that every mask has a share in."""
    masks.square().sum().backward()
    return queries.grad


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time of decoder, encoder and training step, and peak memory of the decoder."""
    yield from _compare_decoding(args)
    case = Encoding(args, args.batch)
    difference = find_difference(case.ours(), case.plain())
    yield take_turns(args, 'SEEM encoder', case.ours, case.plain, difference)
    step = TrainingStep(args, args.batch)
    name = 'SEEM training step from embedded samples, over one'
    for what, reference in (
        ('with our encoder', step.from_images),
        ('written plainly', step.plain),
    ):
        difference = _find_difference(step.from_embedding(), reference())
        yield take_turns(args, f'{name} {what}', step.from_embedding, reference, difference)


def _compare_decoding(args: argparse.Namespace) -> Iterator[Row]:
    case = Decoding(args, args.batch)
    for backward, what in ((False, 'forward'), (True, 'forward and backward')):
        ours, plain = partial(case.ours, backward), partial(case.plain, backward)
        difference = _find_difference(ours(), plain())
        yield take_turns(args, f'SEEM decode, {what}', ours, plain, difference)
    if not args.small:  # the miniature takes less than a process's own memory varies
        yield compare_peaks(args, 'SEEM decode, peak memory', 'seem-decode', 'seem-decode-plain')


def _peak(decode: Callable[[Decoding, bool], Tensor], args: argparse.Namespace) -> float:
    case = Decoding(args, args.batch)
    decode(case, False)  # threads and their buffers
    return measure_peak(partial(decode, case, True), torch.device(args.device))


PEAKS: Dict[str, Callable[[argparse.Namespace], float]] = {
    'seem-decode': partial(_peak, Decoding.ours),
    'seem-decode-plain': partial(_peak, Decoding.plain),
}
