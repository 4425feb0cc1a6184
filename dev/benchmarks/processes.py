"""Training from embedded samples in one process and in two, which train data-parallel on CPUs."""

import argparse
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .exponents import Scaling, make_scaling
from .model import build_model
from .rows import run_cases
from .train import make_embedded_step

__all__ = ['CASES', 'compare']

COUNTS = (1, 2)
STEPS = 4  # of each turn
_RENDEZVOUS = 'BENCHMARK_RENDEZVOUS'
_CASE = 'parallel-step'


class _Losses(nn.Module):
    """What each process computes of its pictures."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Any, samples: Any) -> Tensor:
        return sum(self.head.loss_by_feat(self.head(features), samples).values())


def compare(args: argparse.Namespace) -> Iterator[Scaling]:
    """Pictures a second of all processes together, of which each has one thread."""
    if torch.device(args.device).type != 'cpu':
        return
    values = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            environments = [
                {
                    'RANK': str(rank),
                    'WORLD_SIZE': str(count),
                    _RENDEZVOUS: str(Path(folder) / 'rendezvous'),
                }
                for rank in range(count)
            ]
            seconds = run_cases(args, [_CASE] * count, threads=1, environments=environments)
        values.append(count * args.batch / max(seconds))
    name = 'data-parallel training steps from embedded samples'
    yield make_scaling(name, 'processes', COUNTS, values, 'pictures/s')


def _measure(args: argparse.Namespace) -> float:
    """Seconds of a step in this process, one of those that the environment tells of."""
    rank, count = (int(os.environ[name]) for name in ('RANK', 'WORLD_SIZE'))
    rendezvous = f'file://{os.environ[_RENDEZVOUS]}'
    ranks = dict(rank=rank, world_size=count)
    dist.init_process_group('gloo', rendezvous, timeout=timedelta(minutes=5), **ranks)
    case = make_embedded_step(build_model(args), args.variant, args.batch)
    losses = DistributedDataParallel(_Losses(case.head), broadcast_buffers=False)

    def step() -> None:
        total = losses(case.features, case.samples)
        case.optimizer.zero_grad()
        total.backward()
        case.optimizer.step()

    step()
    dist.barrier()
    start = time.perf_counter()
    for _ in range(STEPS * args.repeats):
        step()
    dist.barrier()
    print((time.perf_counter() - start) / (STEPS * args.repeats))
    sys.stdout.flush()
    os._exit(0)  # threads of gloo may abort an interpreter that is taken down


CASES: Dict[str, Callable[[argparse.Namespace], float]] = {_CASE: _measure}
