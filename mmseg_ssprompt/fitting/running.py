"""Trainings and tests of ``fit``, one after the other in this process, by mmengine's Runner."""

import contextlib
import itertools
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from ..datasets.checks import explain_dataset_errors
from ..files import write_json
from ..hooks.mmengine_fixes import close_runner
from ..main_process import unwrap_model
from ..weights.checkpoint_loader import safe_checkpoint_loading

__all__ = ['check_device', 'evaluate', 'mean_figures', 'train']

#: Where the message hub, and so each checkpoint, has what is known of a training.
_KEY = 'fit'
_NUMBERS = itertools.count()


class _PlainConfig(Config):
    """A config whose text is not laid out by yapf, which takes a second for each checkpoint."""

    @property
    def pretty_text(self) -> str:
        """The text of a config with these settings."""
        return ''.join(f'{key} = {value!r}\n' for key, value in self.to_dict().items())


class _RecordHook(Hook):
    """Keeps losses, validations and seconds in the message hub, and tells how far training is.

    A training that is resumed goes on with those of its checkpoint.
    """

    def __init__(self, report: Callable[[int, str], None], metric: str) -> None:
        self._report, self._metric = report, metric
        self._start = 0.0
        self.record: Dict[str, Any] = dict(losses=[], validations=[], seconds=0.0)

    def before_train(self, runner: Runner) -> None:
        self.record = runner.message_hub.runtime_info.get(_KEY) or self.record
        runner.message_hub.update_info(_KEY, self.record)
        self._report(runner.iter, '')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._start = time.perf_counter()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.record['seconds'] += time.perf_counter() - self._start
        self.record['losses'].append(float(outputs['loss'].detach()))
        scores = [each[self._metric] for each in self.record['validations']]
        self._report(runner.iter + 1, f'{self._metric} {max(scores):.1f}' if scores else '')

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        known = self.record['validations']
        numbers = {name: float(value) for name, value in (metrics or {}).items()}
        numbers['iteration'] = runner.iter
        self.record['validations'] = [each for each in known if each['iteration'] < runner.iter]
        self.record['validations'].append(numbers)
        runner.message_hub.update_info(_KEY, self.record)


class _PredictionHook(Hook):
    """Hands on each prediction of a test."""

    def __init__(self, take: Callable[[Any], None], report: Callable[[int, str], None]) -> None:
        self._take, self._report = take, report

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        for sample in outputs:
            self._take(sample)
        self._report(batch_idx + 1, '')


def check_device(device: Optional[str]) -> None:
    """Refuse a device that torch cannot use here.

    Raises:
        ValueError: With what torch says of it.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f'--device {device!r}: expected cpu, or a GPU that torch can use, such as cuda:0, '
            f'found that {str(error).splitlines()[0]}'
        ) from error


@safe_checkpoint_loading()
@explain_dataset_errors()
def train(
    config: Path, work_dir: Path, metric: str, report: Callable[[int, str], None]
) -> Dict[str, Any]:
    """Train as a config says, or go on with a training that was interrupted.

    Args:
        config: The config.
        work_dir: Of the training.
        metric: The name of the main result of validations.
        report: Is told how many iterations are done.

    Returns:
        ``losses`` of each iteration, ``validations``, each with ``iteration``, ``seconds``, and
        ``trainable_parameters``. They are in ``work_dir/result.json`` too.
    """
    cfg = _load(config, work_dir)
    cfg.resume = True
    hook = _RecordHook(report, metric)
    with _runner(cfg) as runner:
        runner.register_hook(hook)
        runner.train()
        parameters = unwrap_model(runner.model).parameters()
        count = sum(each.numel() for each in parameters if each.requires_grad)
    result = dict(hook.record, trainable_parameters=count)
    write_json(result, work_dir / 'result.json')
    return result


@safe_checkpoint_loading()
@explain_dataset_errors()
def evaluate(
    config: Path,
    work_dir: Path,
    checkpoint: Optional[Path],
    names: str,
    report: Callable[[int, str], None],
    take: Optional[Callable[[Any], None]] = None,
) -> Dict[str, float]:
    """Test what a config says on some pictures.

    Args:
        config: The config.
        work_dir: Where figures and logs go.
        checkpoint: Trained prompts; None: those of the config.
        names: File with the list of pictures.
        report: Is told how many pictures are done.
        take: Is handed each prediction. Defaults to None.

    Returns:
        The figures by name.
    """
    cfg = _load(config, work_dir)
    split = 'test' if cfg.get('test_dataloader') is not None else 'val'
    loader, evaluator = cfg[f'{split}_dataloader'], cfg[f'{split}_evaluator']
    loader = dict(loader, dataset=dict(loader['dataset'], names=names))
    cfg = _PlainConfig(
        dict(
            cfg.to_dict(),
            train_dataloader=None,
            train_cfg=None,
            optim_wrapper=None,
            param_scheduler=None,
            val_dataloader=None,
            val_evaluator=None,
            val_cfg=None,
            custom_hooks=[],
            test_dataloader=loader,
            test_evaluator=evaluator,
            test_cfg=dict(type='PromptTestLoop'),
            load_from=None if checkpoint is None else str(checkpoint),
            resume=False,  # the config may be the one that a training left
        )
    )
    with _runner(cfg) as runner:
        runner.register_hook(_PredictionHook(take or (lambda sample: None), report))
        figures: Dict[str, float] = runner.test()
    return {name: float(value) for name, value in figures.items()}


def _load(config: Path, work_dir: Path) -> Config:
    """A config, of a run whose data were checked before."""
    # Without the name of the file, over which the runner would write.
    cfg = _PlainConfig(Config.fromfile(config).to_dict())
    cfg.work_dir = str(work_dir)
    cfg.launcher = 'none'
    # Else runs that begin within a second would share loggers and histories.
    cfg.experiment_name = f'fit_{os.getpid()}_{next(_NUMBERS)}'
    if cfg.get('visualizer'):
        cfg.visualizer.name = cfg.experiment_name
    cfg.default_hooks.pop('dataset_check', None)
    return cfg


@contextlib.contextmanager
def _runner(cfg: Config) -> Iterator[Runner]:
    """A runner; what it leaves open is closed."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    runner = Runner.from_cfg(cfg)
    try:
        yield runner
    finally:
        close_runner(runner)


def mean_figures(figures: Sequence[Dict[str, float]]) -> Dict[str, float]:
    """The mean of each figure over those in which it is a number."""
    found: Dict[str, List[float]] = {}
    for each in figures:
        for name, value in each.items():
            found.setdefault(name, [])
            if value is not None and value == value:
                found[name].append(value)
    return {
        name: sum(values) / len(values) if values else float('nan')
        for name, values in found.items()
    }
