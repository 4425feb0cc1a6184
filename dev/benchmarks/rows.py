"""Ratios of ours to a reference: times in turns, peak memory in processes of their own."""

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor

from mmseg_ssprompt.analysis.complexity.measuring import measure_seconds

__all__ = ['Row', 'compare_peaks', 'find_difference', 'make_row', 'take_turns']

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4  # of results, in float32
Run = Callable[[], Any]

#: Arguments that a process which measures a peak gets.
_OF_PEAKS = ('variant', 'seem_variant', 'prompts', 'classes', 'batch', 'threads', 'device')

#: Ratios that must be reached at the real sizes of SAM with N = 100, and of SEEM, with C = 150 on
#: two CPU cores, and that are aimed at.
TARGETS: Dict[str, Tuple[float, float]] = {
    'joint decode, N = 100, forward and backward': (1 / 25, 1 / 40),
    'joint decode, N = 100, peak memory': (1 / 12, 1 / 20),
    'joint decode, 100 more prompts at N = 400 over N = 100, forward and backward': (1.1, 1.1),
    'independent decode, N = 100, forward': (0.45, 0.45),
    'independent decode, N = 100, forward and backward': (0.45, 0.45),
    'independent decode, N = 100, peak memory': (1 / 8, 1 / 15),
    'vit_b encoder at 1024 x 1024, float32': (0.68, 0.5),
    'vit_b encoder at 1024 x 1024, bfloat16': (0.42, 0.3),
    'training step from embedded samples, over one with our encoder': (1 / 10, 1 / 15),
    'training step from embedded samples, over the official modules': (1 / 35, 1 / 60),
    'region classifier, of a training step from embedded samples': (1 / 4, 1 / 8),
    'region classifier, C = 2400 over C = 150, peak memory': (1.1, 1.05),
    'predict, C = 150, peak memory': (1 / 4, 1 / 8),
    **{
        f'label map of {side} pixels, {what}': wanted
        for side in (1024, 2048)
        for what, wanted in (
            ('trained, over mmseg', (0.4, 0.2)),
            ('noise, over mmseg', (1.05, 0.7)),
            ('trained, peak memory, over mmseg', (1 / 8, 1 / 16)),
        )
    },
    'state dict on disk': (1 / 200, 1 / 400),
    'text encoder in memory while training': (0.0, 0.0),
    'time in the text encoder, of a training step': (0.0, 0.0),
    'import of the package, over mmseg.models': (1.1, 1.05),
    **{
        f'SEEM {part}, {images}{what}': wanted
        for images in ('1 image', '2 images')
        for part, what, wanted in (
            ('decode', ', forward', (0.8, 0.6)),
            ('decode', ', forward and backward', (0.8, 0.6)),
            ('decode', ', peak memory', (0.6, 0.6)),
            ('encoder', '', (1.0, 1.0)),
            ('training step from embedded samples', ', over one with our encoder', (0.15, 0.15)),
        )
    },
}


@dataclass
class Row:
    """One line of the table; ``ratio`` is ours / reference, so less is better.

    ``difference`` is the largest between the two results, relative to the largest number in the
    reference's, or None where there is nothing to compare.
    """

    name: str
    ours: float
    reference: float
    unit: str
    ratio: float
    ratio_low: float
    ratio_high: float
    must: Optional[float]
    aim: Optional[float]
    difference: Optional[float] = None

    @property
    def missed(self) -> bool:
        """Whether there is a ratio that must be reached, and this one does not."""
        return self.must is not None and self.ratio > self.must


def find_difference(ours: Tensor, reference: Tensor, tolerance: float = TOLERANCE) -> float:
    """The largest difference, relative to the reference's largest number.

    Raises:
        AssertionError: If it is not within the tolerance: a ratio of the times of different
            results would say nothing.
    """
    ours, reference = ours.double(), reference.double()
    scale = reference.abs().max().item()
    torch.testing.assert_close(ours, reference, atol=tolerance * max(scale, 1.0), rtol=tolerance)
    return (ours - reference).abs().max().item() / scale


def make_row(
    args: argparse.Namespace,
    name: str,
    unit: str,
    turns: List[Tuple[float, float]],
    difference: Optional[float] = None,
) -> Row:
    """The line of pairs (ours, reference)."""
    ratios = [ours / reference for ours, reference in turns]
    ours, reference = (statistics.median(column) for column in zip(*turns))
    ratio, low, high = ours / reference, min(ratios), max(ratios)
    has_target = torch.device(args.device).type == 'cpu' and not args.small
    must, aim = TARGETS.get(name, (None, None)) if has_target else (None, None)
    return Row(name, ours, reference, unit, ratio, low, high, must, aim, difference)


def take_turns(
    args: argparse.Namespace,
    name: str,
    ours: Run,
    reference: Run,
    difference: Optional[float] = None,
) -> Row:
    """Seconds of both, alternately; neither is run for the first time."""
    device = torch.device(args.device)
    turns = [
        (measure_seconds(ours, device), measure_seconds(reference, device))
        for _ in range(args.repeats)
    ]
    return make_row(args, name, 's', turns, difference)


def compare_peaks(args: argparse.Namespace, name: str, ours: str, reference: str) -> Row:
    """Peak memory of two cases, which are named in the ``PEAKS`` of their modules."""
    return make_row(args, name, 'GB', [(_measure_peak(args, ours), _measure_peak(args, reference))])


def _measure_peak(args: argparse.Namespace, case: str) -> float:
    options = {option: getattr(args, option) for option in _OF_PEAKS}
    command = [sys.executable, '-m', 'dev.benchmark', args.benchmark, '--peak', case]
    for option, value in options.items():
        command += [f'--{option.replace("_", "-")}', str(value)]
    # Otherwise malloc raises its threshold as large blocks are freed, and later ones come from a
    # heap whose holes are counted as in use.
    environment = {**os.environ, 'MALLOC_MMAP_THRESHOLD_': '1000000'}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    done = subprocess.run(command, check=True, cwd=ROOT, env=environment, **pipes)
    return float(done.stdout.split()[-1])
