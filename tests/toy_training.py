"""A training of seconds whose every part draws: samples, batches, and the model itself."""

import itertools
import random
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

ITERATIONS = 8
RUNS = itertools.count()


class NoisyLine(Dataset):
    """Six numbers, each with noise from three generators."""

    metainfo: Dict[str, Any] = dict()

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Dict[str, Tensor]:
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))
        return dict(inputs=torch.tensor([index + noise], dtype=torch.float64))


class NoisySlope(BaseModel):
    """A model of one weight, with noise from three generators."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, inputs: List[Tensor], mode: str = 'tensor') -> Any:
        if mode != 'loss':
            return [self.weight.item()]
        noise = random.random() + float(np.random.rand()) + torch.rand(1).to(self.weight)
        loss = (torch.stack(inputs) * self.weight - noise).square().mean()
        return dict(loss=loss, loss_of_nothing=loss.detach() * 0)


class Weight(BaseMetric):
    """The model's weight, as validation sees it."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(data_samples[0])

    def compute_metrics(self, results: List[float]) -> Dict[str, float]:
        random.random(), np.random.rand(), torch.rand(1)  # validation may draw too
        return dict(weight=results[0])


class Stops(Exception):
    """In the place of a power cut."""


class StopAt(Hook):
    """Stops before an iteration."""

    priority = 'LOWEST'

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if batch_idx == self.iteration:
            raise Stops


class Record(Hook):
    """The batches and losses of each iteration."""

    def __init__(self) -> None:
        self.batches: List[List[float]] = []
        self.losses: List[float] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.batches.append([float(x) for x in data_batch['inputs']])
        self.losses.append(float(outputs['loss']))


def build_toy(work_dir: Path, *hooks: Hook, workers: int = 0, **settings: Any) -> Runner:
    """A runner that validates and saves every other iteration."""
    loader = dict(dataset=NoisyLine(), batch_size=2, num_workers=workers)
    settings = dict(
        dict(
            train_cfg=dict(type='ResumableTrainLoop', max_iters=ITERATIONS, val_interval=2),
            randomness=dict(seed=0),
            default_hooks=dict(
                checkpoint=dict(
                    type='AtomicCheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=1
                )
            ),
        ),
        **settings,
    )
    return Runner(
        model=NoisySlope(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            loader, sampler=dict(type='InfiniteSampler'), persistent_workers=workers > 0
        ),
        val_dataloader=dict(
            loader, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        val_cfg=dict(type='ValLoop'),
        val_evaluator=[Weight()],
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.05)),
        param_scheduler=dict(type='LinearLR', start_factor=0.1, end=6, by_epoch=False),
        custom_hooks=[dict(type='PromptCheckpointHook'), dict(type='PreemptionHook'), *hooks],
        log_processor=dict(by_epoch=False),
        default_scope='mmengine',
        cfg=Config(dict(settings, work_dir=str(work_dir))),
        experiment_name=f'{work_dir.name}_{next(RUNS)}',  # loggers are kept by this name
        **settings,
    )


def log_of(work_dir: Path) -> str:
    """All that the trainings in a folder have logged."""
    return ''.join(path.read_text() for path in work_dir.glob('*/*.log'))
