"""SAM's image encoder against the official module with the same weights."""

import argparse
from functools import partial
from typing import Iterator

import torch

from mmseg_ssprompt.models import SAMImageEncoder
from mmseg_ssprompt.models.sam.sam_variants import build_image_encoder, get_variant

from .rows import TOLERANCE, Row, find_difference, make_row, measure_turns

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
    """Time of a forward pass in each precision; on GPUs with ``torch.compile``, too.

    On CPUs compiling takes a minute and brought next to nothing.
    """
    official = make_official(args.variant).to(args.device)
    side = get_variant(args.variant).image_size
    images = torch.randn(args.batch, 3, side, side).to(args.device)
    can_compile = torch.device(args.device).type != 'cpu'
    kinds = [
        (dtype, tolerance, compiled)
        for compiled in ((False, True) if can_compile else (False,))
        for dtype, tolerance in ((None, TOLERANCE), ('bfloat16', BFLOAT16_TOLERANCE))
    ]
    names, differences, runs = [], [], [partial(official, images)]
    with torch.no_grad():
        expected = official(images)
        for dtype, tolerance, compiled in kinds:
            ours = SAMImageEncoder(args.variant, dtype=dtype, compile=compiled).to(args.device)
            ours.model.load_state_dict(official.state_dict())
            differences.append(find_difference(ours(images).embedding, expected, tolerance))
            name = f'{args.variant} encoder at {side} x {side}, {dtype or "float32"}'
            names.append(name + (', compiled' if compiled else ''))
            runs.append(partial(ours, images))
        reference, *columns = zip(*measure_turns(args, *runs))
    for name, column, difference in zip(names, columns, differences):
        yield make_row(args, name, 's', list(zip(column, reference)), difference)
