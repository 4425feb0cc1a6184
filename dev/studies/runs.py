"""The trainings and measurements of a study, each done once, whatever study asks for it."""

import hashlib
import json
import math
import os
import re
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from mmengine.config import Config

from mmseg_ssprompt.cli.records import (
    read_last_validation,
    read_losses,
    read_metrics,
    read_train_seconds,
)
from mmseg_ssprompt.files import write_json

from .definitions import StudyRow
from .processes import ROOT, run_tool

__all__ = ['Measurement', 'Training', 'run_all']

CONFIGS = ROOT / 'configs'
MAX_FOLDER_NAME = 150  # file systems allow 255 bytes


class _Run:
    """Something that is done once: its figures are in a file of its folder."""

    RESULT = 'result.json'
    folder: Path

    @property
    def result_file(self) -> Path:
        """Written when the run is complete."""
        return self.folder / self.RESULT

    def result(self) -> Dict[str, Any]:
        """The figures of a complete run."""
        return json.loads(self.result_file.read_text())

    def execute(self, threads: int, gpu: int) -> None:
        """Run, unless that was done before."""
        if not self.result_file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self._run(threads, gpu), self.result_file)

    def _run(self, threads: int, gpu: int) -> Dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class Training(_Run):
    """A training of one configuration, with its validation at the end.

    Attributes:
        row: What is trained.
        lr: The optimiser's learning rate.
        seed: Draws the training set and the noise on the prompts.
        root: Folder of all trainings.
    """

    row: StudyRow
    lr: float
    seed: int
    root: Path

    RESULT = 'training.json'

    @property
    def folder(self) -> Path:
        """The same for every study that needs this training."""
        return self.root / _slug(self.row) / f'lr_{self.lr:.3g}_seed_{self.seed}'

    def _run(self, threads: int, gpu: int) -> Dict[str, Any]:
        """Make the caches that the config needs, then train."""
        options = ['--cfg-options', *self._options()]
        if self.cache_options():
            args = [str(CONFIGS / self.row.config), *options]
            run_tool('cache', args, self.folder / 'cache.log', threads, gpu)
        args = [str(CONFIGS / self.row.config), '--work-dir', str(self.folder / 'train'), *options]
        output = run_tool('train.py', args, self.folder / 'train.log', threads, gpu)
        if not all(map(math.isfinite, read_losses(self.folder / 'train'))):
            raise RuntimeError(f'{self.folder}: a loss in the log is not finite')
        trainable = re.search(r'Trainable: ([\d,]+) parameters', output)
        return dict(
            checkpoint=(self.folder / 'train' / 'last_checkpoint').read_text().strip(),
            trainable_parameters=int(trainable[1].replace(',', '')),
            train_seconds=round(read_train_seconds(self.folder / 'train'), 1),
            validation_score=self._validate(),
        )

    def _validate(self) -> float:
        metric = self.row.metric
        return read_last_validation(self.folder / 'train', metric)[metric]

    def describe(self) -> str:
        """One line for the progress."""
        name = f'{self.row.name}, seed {self.seed}, lr {self.lr:.3g}'
        return f'{name}: {self.result()["validation_score"]:.2f} {self.row.metric} (validation)'

    def cache_options(self) -> List[str]:
        """Settings that put the embedding caches of a config, if it has any, into the folder."""
        cfg = Config.fromfile(CONFIGS / self.row.config)
        return [
            f'{split}_dataloader.dataset.cache_dir={self.folder / "cache" / split}'
            for split in ('train', 'val', 'test')
            if cfg[f'{split}_dataloader'].dataset.type == 'EmbeddedDataset'
        ]

    def _options(self) -> List[str]:
        """The seed goes to whatever draws training images."""
        cfg = Config.fromfile(CONFIGS / self.row.config)
        options = [f'optim_wrapper.optimizer.lr={self.lr}', f'randomness.seed={self.seed}']
        options += [f'train_cfg.val_interval={cfg.train_cfg.max_iters}']
        dataset, key = cfg.train_dataloader.dataset, 'train_dataloader.dataset'
        while dataset is not None:
            options.append(f'{key}.seed={self.seed}')
            if 'manifest' in dataset:
                options.append(f'{key}.manifest={self.folder / "manifest.json"}')
            dataset, key = dataset.get('dataset'), f'{key}.dataset'
        return [*options, *self.cache_options(), *self.row.options]


@dataclass(frozen=True)
class Measurement(_Run):
    """The figures of a row on the test split: its metric, and that of things and of stuff.

    Attributes:
        row: What is measured.
        training: Which made the prompts; None where they are handcrafted.
        root: Folder of all trainings and measurements.
    """

    row: StudyRow
    training: Optional[Training]
    root: Path

    @property
    def folder(self) -> Path:
        """The same for every study that needs this measurement."""
        parts = '_'.join(['test', self.row.oracle or '', *self.row.parts]).strip('_')
        if self.row.parts:
            parts += f'_on_{_slug(self.row)}'
        parent = self.training.folder if self.training else self.root / _slug(self.row)
        return parent / parts

    def _run(self, threads: int, gpu: int) -> Dict[str, Any]:
        """Transfer the prompts where asked to, then test."""
        checkpoint = [self.training.result()['checkpoint']] if self.training else []
        config = str(CONFIGS / self.row.config)
        if self.row.parts:
            moved = str(self.folder / 'transferred.pth')
            args = [*checkpoint, config, '--out', moved, '--parts', *self.row.parts]
            args += ['--cfg-options', *self.row.options] if self.row.options else []
            run_tool('prompts transfer', args, self.folder / 'transfer.log', threads, gpu)
            checkpoint = [moved]
        options = list(self.row.options)
        if self.training and not self.row.source:
            options += self.training.cache_options()
        options = ['--cfg-options', *options] if options else []
        args = [config, *checkpoint, '--work-dir', str(self.folder), *options]
        metrics = self._measure(args, threads, gpu)
        keys = (self.row.metric, *(f'{self.row.metric}.{kind}' for kind in ('things', 'stuff')))
        return {key: metrics[key] for key in keys if key in metrics}

    def describe(self) -> str:
        """One line for the progress."""
        seed = f', seed {self.training.seed}' if self.training else ''
        return (
            f'{self.row.name}{seed}: {self.result()[self.row.metric]:.2f} {self.row.metric} (test)'
        )

    def _measure(self, args: Sequence[str], threads: int, gpu: int) -> Dict[str, float]:
        log = self.folder / 'test.log'
        if self.row.oracle is None:
            run_tool('test.py', args, log, threads, gpu)
            return read_metrics(self.folder)
        figures = self.folder / 'oracle.json'
        run_tool('oracle', [*args, '--json', str(figures)], log, threads, gpu)
        metrics, name = json.loads(figures.read_text()), f'mIoU.{self.row.oracle}'
        return {key.replace(name, 'mIoU'): metrics[key] for key in metrics if name in key}


def run_all(runs: Sequence[Union[Training, Measurement]], jobs: int) -> None:
    """Execute runs, several at a time, and say how far it is.

    Args:
        runs: What is to be done; the same run may be there twice.
        jobs: Runs at a time. CPU cores, and GPUs if there are any, are shared out among them.
    """
    runs = list({run.folder: run for run in reversed(runs)}.values())[::-1]  # the first of each
    threads = max(1, (os.cpu_count() or 1) // jobs)
    slots: Queue[int] = Queue()
    for slot in range(jobs):
        slots.put(slot % max(1, torch.cuda.device_count()))

    def execute(run: Union[Training, Measurement]) -> None:
        gpu = slots.get()
        try:
            run.execute(threads, gpu)
        finally:
            slots.put(gpu)

    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(execute, run): run for run in runs}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                print(f'[{done}/{len(runs)}] {futures[future].describe()}', flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _slug(row: StudyRow) -> str:
    """A folder's name for a config with its options."""
    options = [option.replace('model.decode_head.', '') for option in row.options]
    slug = re.sub(r'[^\w.=-]+', '_', '_'.join([Path(row.config).stem, *options]))
    if len(slug) > MAX_FOLDER_NAME:
        slug = f'{slug[:MAX_FOLDER_NAME]}_{hashlib.sha256(slug.encode()).hexdigest()[:12]}'
    return slug
