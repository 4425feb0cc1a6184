"""What a study on real data costs, from steps that were measured."""

import functools
import json
from pathlib import Path
from typing import Any, Dict, List, Optional

from .cluster_plan import Plan
from .processes import ROOT
from .real_rows import DATA

__all__ = ['describe_cost', 'gpu_name', 'hours_of', 'seconds_of_steps']

EVIDENCE = ROOT / 'docs' / 'evidence'
#: Rows of benchmarks: ours and the reference are a step from embedded samples and from images.
_STEP = ('training step from embedded samples', 'over one with our encoder')
_ENCODER, _PREDICT = ('vit_b encoder at 1024 x 1024', ', float32'), ('predict, C = 150', ', time')


@functools.cache
def _read_runs(pattern: str) -> List[Dict[str, Any]]:
    files = sorted(EVIDENCE.glob(pattern))
    return [json.loads(file.read_text(encoding='utf-8')) for file in files]


def _find(pattern: str, begin: str, end: str) -> Optional[Dict[str, Any]]:
    """The first row of the runs whose name begins and ends so."""
    rows = (row for run in _read_runs(pattern) for row in run['rows'])
    return next((r for r in rows if r['name'].startswith(begin) and r['name'].endswith(end)), None)


def gpu_name() -> str:
    """The GPU on which the steps were measured."""
    return str(_read_runs('performance_gpu*.json')[0]['machine']['device'])


@functools.cache
def seconds_of_steps(base: str) -> Optional[Dict[str, float]]:
    """Seconds on the GPU of one image: ``'step'``, ``'cached'`` (a step on a cache), ``'predict'``.

    Where SEEM was measured on CPUs alone, SAM's on the GPU are multiplied by how much longer SEEM's
    take on a CPU.

    Args:
        base: A key of ``BASES``.

    Returns:
        None where the steps of a base model were not measured.
    """
    gpu, cpu = 'performance_gpu*.json', 'performance*_cpu_*.json'
    step, encoder, predict = (_find(gpu, *row) for row in (_STEP, _ENCODER, _PREDICT))
    if step is None or encoder is None or predict is None:
        return None
    factors = dict(ours=1.0, reference=1.0)
    if base.startswith('seem'):
        row = (f'SEEM {_STEP[0]}', _STEP[1])
        slower, faster = _find(gpu, *row), step
        if slower is None:
            slower, faster = _find(cpu, *row), _find(cpu, *_STEP)
        if slower is None or faster is None:
            return None
        factors = {side: slower[side] / faster[side] for side in factors}
    return dict(
        step=step['reference'] * factors['reference'],
        cached=step['ours'] * factors['ours'],
        predict=(encoder['ours'] + predict['ours']) * factors['reference'],
    )


def hours_of(base: str, data: str, iterations: int, cached: bool = False) -> Optional[float]:
    """GPU hours of one job: its iterations with one image each, and a validation.

    Args:
        base: A key of ``BASES``.
        data: A key of ``DATA``.
        iterations: Of the training; 0 where nothing trains.
        cached: Whether it trains on embedded samples.

    Returns:
        None where the steps of the base model were not measured.
    """
    seconds = seconds_of_steps(base)
    if seconds is None:
        return None
    step = seconds['cached' if cached else 'step']
    return (iterations * step + DATA[data][2] * seconds['predict']) / 3600


def describe_cost(plan: Plan) -> str:
    """What all jobs cost, and the longest, in a few words."""
    hours = [
        hours_of(plan.base, plan.data, job.iterations, Path(job.config).stem.endswith('_cached'))
        for job in plan.jobs
    ]
    known = [each for each in hours if each is not None]
    if not known:
        return 'what they cost was not measured'
    return (
        f'about {sum(known):.2g} hours of one {gpu_name()} in all, {max(known):.2g} for the '
        'longest job (from measured steps of one image; reading the images may take longer)'
    )
