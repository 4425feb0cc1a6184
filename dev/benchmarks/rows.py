"""Ratios of ours to a reference: times in turns, peak memory in processes of their own."""

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from mmseg_ssprompt.analysis.complexity.measuring import measure_seconds

__all__ = [
    'Row',
    'compare_peaks',
    'find_difference',
    'find_unmeasured',
    'has_targets',
    'make_row',
    'measure_turns',
    'run_cases',
    'take_turns',
]

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4  # of results, in float32
Run = Callable[[], Any]

#: Arguments that a process which measures a case gets.
_OF_CASES = ('variant', 'seem_variant', 'prompts', 'classes', 'batch', 'repeats', 'device')
#: Of turns for each that was asked for: what is slow is measured less often.
_SECONDS = 5

_SIZES_OF_TARGETS = ('vit_b', 'focal_t', 100, 150, 1)
#: Ratios that must be reached at these sizes on two CPU cores, and that are aimed at.
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
    'import of the package, over mmseg.models': (1.1, 1.05),
    'SEEM decode, forward': (0.8, 0.6),
    'SEEM decode, forward and backward': (0.8, 0.6),
    'SEEM decode, peak memory': (0.6, 0.6),
    'SEEM encoder': (1.0, 1.0),
    'SEEM training step from embedded samples, over one with our encoder': (0.15, 0.15),
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


def find_unmeasured(names: Collection[str]) -> List[str]:
    """Targets without a row of their name, which would be lost in silence."""
    return sorted(set(TARGETS) - set(names))


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


def has_targets(args: argparse.Namespace) -> bool:
    """Whether device and sizes are those that targets are for."""
    sizes = (args.variant, args.seem_variant, args.prompts, args.classes, args.batch)
    return torch.device(args.device).type == 'cpu' and sizes == _SIZES_OF_TARGETS


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
    must, aim = TARGETS.get(name, (None, None)) if has_targets(args) else (None, None)
    return Row(name, ours, reference, unit, ratio, low, high, must, aim, difference)


def measure_turns(args: argparse.Namespace, *runs: Run) -> List[Tuple[float, ...]]:
    """Seconds of each, alternately; none of them is run for the first time.

    There are ``args.repeats`` turns, or fewer where they take long, but at least one.
    """
    device, turns = torch.device(args.device), []
    while len(turns) < args.repeats and sum(map(sum, turns)) < _SECONDS * args.repeats:
        turns.append(tuple(measure_seconds(run, device) for run in runs))
    return turns


def take_turns(
    args: argparse.Namespace,
    name: str,
    ours: Run,
    reference: Run,
    difference: Optional[float] = None,
) -> Row:
    """The line of :func:`measure_turns`."""
    return make_row(args, name, 's', measure_turns(args, ours, reference), difference)


def compare_peaks(args: argparse.Namespace, name: str, ours: str, reference: str) -> Row:
    """Peak memory of two cases, which are named in the ``PEAKS`` of their modules."""
    return make_row(args, name, 'GB', [tuple(run_cases(args, [ours, reference]))])


def run_cases(
    args: argparse.Namespace,
    cases: Sequence[str],
    threads: Optional[int] = None,
    environments: Sequence[Mapping[str, str]] = (),
) -> List[float]:
    """The figure of each case, in processes of their own, which run at the same time.

    Args:
        args: Of the command line.
        cases: Names among those of all modules.
        threads: Of each process. Defaults to None: as given.
        environments: Variables of each process. Defaults to (): none.

    Raises:
        RuntimeError: If a process fails.
    """
    # Otherwise malloc raises its threshold as large blocks are freed, and later ones come from a
    # heap whose holes are counted as in use.
    common = {**os.environ, 'MALLOC_MMAP_THRESHOLD_': '1000000'}
    options = {option: getattr(args, option) for option in _OF_CASES}
    options['threads'] = threads or args.threads
    given = [word for key, value in options.items() for word in (_flag(key), str(value))]
    given += ['--small'] if args.small else []
    started = []
    for number, case in enumerate(cases):
        command = [sys.executable, '-m', 'dev.benchmark', args.benchmark, '--case', case, *given]
        environment = {**common, **(environments[number] if environments else {})}
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, **pipes))
    figures = []
    for case, process in zip(cases, started):
        printed, errors = process.communicate()
        if process.returncode:
            for other in started:
                other.kill()
                other.wait()
            raise RuntimeError(f'case {case!r} failed: {errors.strip()[-2000:]}')
        figures.append(float(printed.split()[-1]))
    return figures


def _flag(option: str) -> str:
    return f'--{option.replace("_", "-")}'
