"""SAM's image encoder against the official module with the same weights."""

import argparse
import shutil
from functools import partial
from typing import Iterator

import torch

from mmseg_ssprompt.models import SAMImageEncoder
from mmseg_ssprompt.models.sam.sam_variants import build_image_encoder, get_variant

from .rows import TOLERANCE, Row, find_difference, take_turns

__all__ = ['compare', 'make_official']

#: Of the embedding's largest number, in bfloat16: what its 8 bits leave after 12 blocks and more.
BFLOAT16_TOLERANCE = 0.05


def make_official(variant: str) -> torch.nn.Module:
    """The official encoder, with random weights."""
    torch.manual_seed(0)
    official = build_image_encoder(variant).eval()
    with torch.no_grad():
        for parameter in official.parameters():  # positions are zero at first
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return official


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time of a forward pass, in each precision, with and without ``torch.compile``."""
    official = make_official(args.variant).to(args.device)
    side = get_variant(args.variant).image_size
    images = torch.randn(args.batch, 3, side, side).to(args.device)
    can_compile = args.device != 'cpu' or shutil.which('g++') is not None
    with torch.no_grad():
        expected = official(images)
        for compiled in (False, True) if can_compile else (False,):
            for dtype, tolerance in ((None, TOLERANCE), ('bfloat16', BFLOAT16_TOLERANCE)):
                ours = SAMImageEncoder(args.variant, dtype=dtype, compile=compiled).to(args.device)
                ours.model.load_state_dict(official.state_dict())
                difference = find_difference(ours(images).embedding, expected, tolerance)
                name = f'{args.variant} encoder at {side} x {side}, {dtype or "float32"}'
                name += ', compiled' if compiled else ''
                run, reference = partial(ours, images), partial(official, images)
                yield take_turns(args, name, run, reference, difference)
