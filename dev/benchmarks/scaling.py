"""What grows with the number of prompts and of images: ours against ours."""

import argparse
from functools import partial
from typing import Iterator

import torch

from mmseg_ssprompt.analysis.complexity.measuring import measure_seconds

from .decode import Decoding
from .rows import Row, Run, make_row, take_turns
from .train import TrainingStep

__all__ = ['compare']


def compare(args: argparse.Namespace) -> Iterator[Row]:
    """Time of a quarter of the prompts, of more of them, and of more images."""
    case, other = Decoding(args), Decoding(args, args.prompts // 4)
    for backward, what in ((False, 'forward'), (True, 'forward and backward')):
        ours, reference = (partial(c.ours, 'joint', backward) for c in (other, case))
        ours(), reference()
        name = f'joint decode, N = {args.prompts // 4} over N = {args.prompts}, {what}'
        yield take_turns(args, name, ours, reference)
    yield from _compare_more_prompts(args)
    single = TrainingStep(args)
    single.from_embedding()
    for times in (2, 4):
        several = TrainingStep(args, times * args.batch)
        several.from_embedding()
        name = f'training step from {times * args.batch} embedded samples, over {args.batch}'
        yield take_turns(args, name, several.from_embedding, single.from_embedding)


def _compare_more_prompts(args: argparse.Namespace) -> Iterator[Row]:
    """What as many prompts more cost where there are four times as many."""
    count, device = args.prompts, torch.device(args.device)
    cases = [Decoding(args, times * count) for times in (1, 2, 4, 5)]
    for backward, what in ((False, 'forward'), (True, 'forward and backward')):
        runs = [partial(case.ours, 'joint', backward) for case in cases]
        turns = []
        for _ in range(args.repeats):
            one, two, four, five = (_shortest(run, device) for run in runs)
            turns.append((five - four, two - one))
        name = f'joint decode, {count} more prompts at N = {4 * count} over N = {count}, {what}'
        yield make_row(args, name, 's', turns)


def _shortest(run: Run, device: torch.device) -> float:
    """Seconds of the shortest of five runs: a difference of two times needs steady ones."""
    return min(measure_seconds(run, device) for _ in range(5))
