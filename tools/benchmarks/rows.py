"""Ratios of ours to a reference: times in turns, peak memory in processes of their own."""

import argparse
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor

__all__ = ['Row', 'check_equal', 'compare_peaks', 'make_row', 'peak_gb', 'take_turns']

TOOL = Path(__file__).resolve().parents[1] / 'benchmark.py'
TOLERANCE = 1e-4  # of results, in float32
Run = Callable[[], Any]

#: Ratios that must be reached at SAM's real size with N = 100 on two CPU cores, and that are aimed
#: at.
TARGETS: Dict[str, Tuple[float, float]] = {
    'joint decode, N = 100, forward and backward': (1 / 25, 1 / 40),
    'joint decode, N = 100, peak memory': (1 / 12, 1 / 20),
    'joint decode, N = 400 over N = 100, forward and backward': (2.0, 1.5),
    'independent decode, N = 100, forward': (0.7, 0.5),
    'independent decode, N = 100, peak memory': (1 / 8, 1 / 15),
    'vit_b encoder at 1024 x 1024, float32': (0.68, 0.5),
    'training step from embedded samples, over one with our encoder': (1 / 10, 1 / 15),
    'training step from embedded samples, over the official modules': (1 / 35, 1 / 60),
    'predict, C = 150, peak memory': (1 / 4, 1 / 8),
    'state dict on disk': (1 / 200, 1 / 400),
}


@dataclass
class Row:
    """One line of the table; ``ratio`` is ours / reference, so less is better."""

    name: str
    ours: float
    reference: float
    unit: str
    ratio: float
    ratio_low: float
    ratio_high: float
    must: Optional[float]
    aim: Optional[float]


def check_equal(ours: Tensor, reference: Tensor) -> None:
    """Refuse to compare the times of different results.

    Raises:
        AssertionError: With the largest difference.
    """
    torch.testing.assert_close(ours, reference, atol=TOLERANCE, rtol=TOLERANCE)


def make_row(
    args: argparse.Namespace, name: str, unit: str, turns: List[Tuple[float, float]]
) -> Row:
    """The line of pairs (ours, reference)."""
    ratios = [ours / reference for ours, reference in turns]
    ours, reference = (statistics.median(column) for column in zip(*turns))
    must, aim = (None, None) if args.small else TARGETS.get(name, (None, None))
    return Row(name, ours, reference, unit, ours / reference, min(ratios), max(ratios), must, aim)


def take_turns(args: argparse.Namespace, name: str, ours: Run, reference: Run) -> Row:
    """Seconds of both, alternately."""
    turns = [(_seconds(ours), _seconds(reference)) for _ in range(args.repeats)]
    return make_row(args, name, 's', turns)


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare_peaks(args: argparse.Namespace, name: str, ours: str, reference: str) -> Row:
    """Peak memory of two cases, which are named in the ``PEAKS`` of their modules."""
    return make_row(args, name, 'GB', [(_measure_peak(args, ours), _measure_peak(args, reference))])


def _measure_peak(args: argparse.Namespace, case: str) -> float:
    command = [sys.executable, TOOL, args.benchmark, '--peak', case, '--variant', args.variant]
    command += ['--prompts', args.prompts, '--batch', args.batch, '--threads', args.threads]
    done = subprocess.run(
        list(map(str, command)), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return float(done.stdout.split()[-1])


def peak_gb() -> float:
    """Most memory that this process has had, in GB, as Linux counts it.

    ``resource.getrusage`` does not serve: a new process inherits its parent's maximum.
    """
    status = Path('/proc/self/status').read_text()
    return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) / 1e6
