"""What grows with the number of prompts: ours against ours."""

import argparse
from functools import partial
from typing import Iterator, List, Sequence

import torch

from mmseg_ssprompt.analysis.complexity.measuring import measure_seconds

from .decode import Decoding
from .rows import Row, Run, make_row

__all__ = ['compare']


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """What as many prompts more cost where there are four times as many."""
    if args.small:  # differences of a miniature's times are noise
        return
    count, device = args.prompts, torch.device(args.device)
    cases = [Decoding(args, times * count) for times in (1, 2, 4, 5)]
    for backward, what in ((False, 'forward'), (True, 'forward and backward')):
        runs = [partial(case.ours, 'joint', backward) for case in cases]
        turns = []
        for _ in range(args.repeats):
            one, two, four, five = _find_shortest(runs, device)
            turns.append((five - four, two - one))
        name = f'joint decode, {count} more prompts at N = {4 * count} over N = {count}, {what}'
        yield make_row(args, name, 's', turns)


def _find_shortest(runs: Sequence[Run], device: torch.device) -> List[float]:
    """Seconds of the shortest run of each: a difference of two times needs steady ones.

    The runs take turns, so that what else the machine does meets all of them.
    """
    seconds = [[measure_seconds(run, device) for run in runs] for _ in range(8)]
    return [min(each) for each in zip(*seconds)]
