"""What a study on real data costs, from steps that were measured."""

import functools
import json
import re
from typing import Any, Dict, Tuple

from .cluster_plan import Plan
from .processes import ROOT
from .real_rows import DATA

__all__ = ['GPU', 'describe_cost', 'hours_of', 'seconds_of_steps']

EVIDENCE = ROOT / 'docs' / 'evidence'
GPU = 'H100'
#: Rows of benchmarks: ours and the reference are a step from embedded samples and from images.
_STEP = 'training step from embedded samples, over one with our encoder'
_SEEM_STEP = 'SEEM training step from embedded samples, 1 image, over one with our encoder'
_ENCODER, _PREDICT = 'vit_b encoder at 1024 x 1024, float32', 'predict, C = 150, time'


@functools.cache
def _read_gpu() -> Dict[str, Tuple[float, float]]:
    """Seconds of ours and of the reference by row, as ``dev.benchmark`` printed them."""
    text = (EVIDENCE / f'performance_{GPU.lower()}.txt').read_text(encoding='utf-8')
    rows = re.findall(r'^(\S.*?)  +([\d.]+) +([\d.]+) s +ratio', text, re.MULTILINE)
    return {name: (float(ours), float(reference)) for name, ours, reference in rows}


@functools.cache
def _read_cpu(name: str) -> Dict[str, Any]:
    content = json.loads((EVIDENCE / f'{name}.json').read_text(encoding='utf-8'))
    return {row['name']: row for row in content['rows']}


@functools.cache
def seconds_of_steps(base: str) -> Dict[str, float]:
    """Seconds on the GPU of one image: ``'step'``, ``'cached'`` (a step on a cache), ``'predict'``.

    SEEM was measured on a CPU alone: there its steps take a multiple of SAM's, by which SAM's on
    the GPU are multiplied.

    Args:
        base: A key of ``BASES``.
    """
    gpu = _read_gpu()
    cached, step = gpu[_STEP]
    predict = gpu[_ENCODER][0] + gpu[_PREDICT][0]
    if base == 'sam-vit-b':
        return dict(step=step, cached=cached, predict=predict)
    sam, seem = _read_cpu('performance_cpu_1')[_STEP], _read_cpu('performance_seem_cpu_1')
    slower = {side: seem[_SEEM_STEP][side] / sam[side] for side in ('ours', 'reference')}
    return dict(
        step=step * slower['reference'],
        cached=cached * slower['ours'],
        predict=predict * slower['reference'],
    )


def hours_of(base: str, data: str, iterations: int, cached: bool = False) -> float:
    """GPU hours of one job: its iterations with one image each, and a validation.

    Args:
        base: A key of ``BASES``.
        data: A key of ``DATA``.
        iterations: Of the training; 0 where nothing trains.
        cached: Whether it trains on embedded samples.
    """
    seconds = seconds_of_steps(base)
    step = seconds['cached' if cached else 'step']
    return (iterations * step + DATA[data][2] * seconds['predict']) / 3600


def describe_cost(plan: Plan) -> str:
    """One line: the GPU hours of all jobs, and of the longest."""
    hours = [
        hours_of(plan.base, plan.data, job.iterations, job.config.endswith('_cached.py'))
        for job in plan.jobs
    ]
    return (
        f'about {sum(hours):.2g} hours of one {GPU} in all, {max(hours):.2g} for the longest job '
        '(from measured steps of one image; reading the images may take longer)'
    )
