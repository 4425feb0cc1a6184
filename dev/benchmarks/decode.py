"""SAM's mask decoder: joint and independent decoding against the official module."""

import argparse
import math
from functools import partial
from typing import Callable, Dict, Iterator, Optional

import torch
from torch import Tensor

from mmseg_ssprompt.analysis.complexity.measuring import measure_peak
from mmseg_ssprompt.models import SAMMaskDecoder, SAMPromptEncoder
from mmseg_ssprompt.models.prompts.spatial import point_grid
from mmseg_ssprompt.models.sam.sam_variants import get_variant

from .rows import Row, compare_peaks, find_difference, take_turns

__all__ = ['PEAKS', 'Decoding', 'compare']


class Decoding:
    """N prompts through SAM's mask decoder, with random weights."""

    def __init__(self, args: argparse.Namespace, prompts: Optional[int] = None) -> None:
        torch.manual_seed(0)
        device = torch.device(args.device)
        self.encoder = SAMPromptEncoder(args.variant).to(device)
        self.decoder = SAMMaskDecoder(args.variant).to(device)
        size = get_variant(args.variant).embedding_size
        self.image = torch.randn(args.batch, self.encoder.embed_dim, size, size).to(device)
        count = prompts or args.prompts
        side = math.ceil(math.sqrt(count))
        points = (point_grid(side**2)[:count] * self.encoder.image_size).to(device)
        labels = torch.ones(count, 1, device=device)
        with torch.no_grad():
            self.sparse = self.encoder.encode_points(points[:, None], labels)
        self.image_pe, self.dense = self.encoder.image_pe(), self.encoder.dense_prompt()

    def ours(self, decoding: str, backward: bool) -> Tensor:
        """Mask logits (B, N, 4h, 4w), or after a backward pass the gradient of the prompts."""
        self.decoder.decoding = decoding
        sparse = self.sparse.clone().requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            masks = self.decoder(self.image, self.image_pe, sparse, self.dense).mask_logits
        return _backward(masks, sparse) if backward else masks

    def official(self, backward: bool, count: Optional[int] = None) -> Tensor:
        """The same by the official decoder, an image at a time, as it cannot take more."""
        sparse = self.sparse[:count].clone().requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            masks = torch.stack(
                [
                    self.decoder.decoder(image[None], self.image_pe, sparse, self.dense, False)[0]
                    for image in self.image
                ]
            ).squeeze(2)
        return _backward(masks, sparse) if backward else masks


def _backward(masks: Tensor, sparse: Tensor) -> Tensor:
    """Gradient of a sum that every mask has a share in."""
    masks.square().mean().backward()
    return sparse.grad


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Times and peak memory of both ways of decoding."""
    case = Decoding(args)
    count = f'N = {args.prompts}'
    for backward in (False, True):
        difference = {
            'joint': _difference_of_one_prompt(args, backward),
            'independent': find_difference(
                case.ours('independent', backward), case.official(backward)
            ),
        }
        what = 'forward and backward' if backward else 'forward'
        case.ours('joint', backward)
        for decoding in ('joint', 'independent'):
            yield take_turns(
                args,
                f'{decoding} decode, {count}, {what}',
                partial(case.ours, decoding, backward),
                partial(case.official, backward),
                difference[decoding],
            )
    if not args.small:  # sam-tiny takes less than a process's own memory varies
        for decoding in ('joint', 'independent'):
            name = f'{decoding} decode, {count}, peak memory'
            yield compare_peaks(args, name, f'decode-{decoding}', 'decode-official')


def _difference_of_one_prompt(args: argparse.Namespace, backward: bool) -> float:
    """Joint decoding is SAM's own where there is one prompt, with all of its mask tokens."""
    case = Decoding(args, prompts=1)
    case.decoder.carry_all_tokens = True
    return find_difference(case.ours('joint', backward), case.official(backward))


def _peak_of_ours(decoding: str, args: argparse.Namespace) -> float:
    case = Decoding(args)
    case.ours('joint', False)  # threads and their buffers
    return measure_peak(partial(case.ours, decoding, True), torch.device(args.device))


def _peak_of_official(args: argparse.Namespace) -> float:
    """Given 16 prompts, if there are more, and extrapolated: memory grows with N.

    N = 100 does not fit everywhere.
    """
    case = Decoding(args)
    case.ours('joint', False)
    count = min(16, args.prompts)
    peak = measure_peak(partial(case.official, True, count), torch.device(args.device))
    return peak * args.prompts / count


PEAKS: Dict[str, Callable[[argparse.Namespace], float]] = {
    'decode-joint': partial(_peak_of_ours, 'joint'),
    'decode-independent': partial(_peak_of_ours, 'independent'),
    'decode-official': _peak_of_official,
}
