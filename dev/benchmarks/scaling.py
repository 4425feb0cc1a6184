"""What grows with the number of prompts: ours against ours."""

import argparse
from functools import partial
from typing import Iterator

from .decode import Decoding
from .rows import Row, take_turns

__all__ = ['compare']


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time of a quarter and of four times the prompts."""
    case = Decoding(args)
    for prompts in (args.prompts // 4, 4 * args.prompts):
        other = Decoding(args, prompts)
        for backward, what in ((False, 'forward'), (True, 'forward and backward')):
            ours, reference = (partial(c.ours, 'joint', backward) for c in (other, case))
            ours(), reference()
            name = f'joint decode, N = {prompts} over N = {args.prompts}, {what}'
            yield take_turns(args, name, ours, reference)
