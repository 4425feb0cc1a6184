"""SAM's image encoder against the official module with the same weights."""

import argparse
from functools import partial
from typing import Iterator

import torch

from mmseg_ssprompt.models import SAMImageEncoder
from mmseg_ssprompt.models.sam.variants import build_image_encoder, get_variant

from .rows import Row, check_equal, take_turns

__all__ = ['compare', 'make_pair']


def make_pair(variant: str) -> tuple:
    """The official encoder and ours, with the same random weights."""
    torch.manual_seed(0)
    official = build_image_encoder(variant).eval()
    with torch.no_grad():
        for parameter in official.parameters():  # positions are zero at first
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    ours = SAMImageEncoder(variant)
    ours.model.load_state_dict(official.state_dict())
    return official, ours


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time of a forward pass."""
    official, ours = make_pair(args.variant)
    side = get_variant(args.variant).image_size
    images = torch.randn(args.batch, 3, side, side)
    with torch.no_grad():
        check_equal(ours(images)[0], official(images))
        name = f'{args.variant} encoder at {side} x {side}, float32'
        yield take_turns(args, name, partial(ours, images), partial(official, images))
