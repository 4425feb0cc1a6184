"""The trainings and measurements of a study, each done once, whatever study asks for it."""

import hashlib
import json
import math
import re
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from mmengine.config import Config

from mmseg_ssprompt.analysis.complexity.measuring import count_cores
from mmseg_ssprompt.cli.records import (
    read_last_validation,
    read_losses,
    read_metrics,
    read_train_seconds,
)
from mmseg_ssprompt.files import write_json

from .definitions import StudyRow
from .processes import run_tool
from .row_configs import CONFIGS, SPLITS, make_config

__all__ = ['Embedding', 'Measurement', 'Training', 'run_all']

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

    def describe(self) -> str:
        """One line for the progress."""
        raise NotImplementedError

    def _run(self, threads: int, gpu: int) -> Dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class Embedding(_Run):
    """The embedded samples of a split, which all rows with the same scenes and encoder share.

    Attributes:
        folder: Where they go.
        split: ``'train'``, ``'val'`` or ``'test'``, in the config.
        config: A config whose split it is, as ``make_config`` returns it.
    """

    folder: Path
    split: str
    config: Config = field(compare=False)

    RESULT = 'embedded.json'

    @property
    def result_file(self) -> Path:
        """Beside the folder, whose files are those of the cache alone."""
        return self.folder.with_name(f'{self.folder.name}_{self.RESULT}')

    def _run(self, threads: int, gpu: int) -> Dict[str, Any]:
        config = self.folder.with_name(f'{self.folder.name}_config.py')
        self.config.dump(config)
        log = self.folder.with_name(f'{self.folder.name}.log')
        run_tool('cache', [str(config), '--split', self.split], log, threads, gpu)
        return dict(split=self.split)

    def describe(self) -> str:
        """One line for the progress."""
        return f'scenes of {Path(self.config.filename).stem} embedded ({self.split})'


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

    def make_config(self) -> Config:
        """The config that is trained, and tested."""
        return make_config(self.row, _samples(self.root), self.lr, self.seed)

    def _run(self, threads: int, gpu: int) -> Dict[str, Any]:
        config = self.folder / 'config.py'
        self.make_config().dump(config)
        args = [str(config), '--work-dir', str(self.folder / 'train')]
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

    def make_config(self) -> Config:
        """The config that is tested."""
        if self.training is None or self.row.source:
            return make_config(self.row, _samples(self.root))
        return make_config(self.row, _samples(self.root), self.training.lr, self.training.seed)

    def _run(self, threads: int, gpu: int) -> Dict[str, Any]:
        """Transfer the prompts where asked to, then test."""
        checkpoint = [self.training.result()['checkpoint']] if self.training else []
        if self.row.parts:
            moved = str(self.folder / 'transferred.pth')
            args = [*checkpoint, str(CONFIGS / self.row.config), '--out', moved]
            args += ['--parts', *self.row.parts]
            args += ['--cfg-options', *self.row.options] if self.row.options else []
            run_tool('prompts transfer', args, self.folder / 'transfer.log', threads, gpu)
            checkpoint = [moved]
        config = self.folder / 'config.py'
        self.make_config().dump(config)
        args = [str(config), *checkpoint, '--work-dir', str(self.folder)]
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

    The embedded samples that they need are made first.

    Args:
        runs: What is to be done; the same run may be there twice.
        jobs: Runs at a time. CPU cores, and GPUs if there are any, are shared out among them.
    """
    left = [run for run in runs if not run.result_file.is_file()]
    needed = [embedding for run in left for embedding in _find_embeddings(run)]
    for several in (needed, runs):
        _run_all(list({run.folder: run for run in reversed(several)}.values())[::-1], jobs)


def _find_embeddings(run: Union[Training, Measurement]) -> List[Embedding]:
    """What a run reads: a training the first two splits, a measurement the last."""
    config = run.make_config()
    splits = SPLITS[:2] if isinstance(run, Training) else SPLITS[2:]
    datasets = {split: config[f'{split}_dataloader'].dataset for split in splits}
    return [
        Embedding(Path(dataset.cache_dir), split, config)
        for split, dataset in datasets.items()
        if dataset.type == 'EmbeddedDataset'
    ]


def _samples(root: Path) -> Path:
    """The folder of all embedded samples."""
    return root / 'samples'


def _run_all(runs: Sequence[_Run], jobs: int) -> None:
    """Execute different runs."""
    threads = max(1, count_cores() // jobs)
    slots: Queue[int] = Queue()
    for slot in range(jobs):
        slots.put(slot % max(1, torch.cuda.device_count()))

    def execute(run: _Run) -> None:
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
