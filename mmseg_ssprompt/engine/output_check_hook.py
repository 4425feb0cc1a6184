"""Looks at where a run writes, before it writes anything there."""

import logging
import os
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ..evaluation import GroupedIoUMetric
from ..outputs import OutputError, check_outputs, find_inputs, find_outputs, find_result_names

__all__ = ['OutputCheckHook']

#: Names of what trainings save.
_CHECKPOINTS = ('iter_*.pth', 'epoch_*.pth', 'best_*.pth')


@HOOKS.register_module()
class OutputCheckHook(Hook):
    """Refuses to write onto what a run reads, and names the results of images.

    Evaluators, visualisers and hooks say in the config where they write (``output_dir``,
    ``out_dir``, ...). Those places must not be images, label maps, weights, prompts, lists of
    names or the config, nor lie in a folder of data. The state of the run itself (``work_dir``,
    embedding cache, few-shot manifest) is not looked at.

    Raises:
        OutputError: With the setting, the path, what it would meet, and what to do.
    """

    priority = 'HIGHEST'

    def before_run(self, runner: Runner) -> None:
        """Compare outputs with inputs."""
        inputs = find_inputs(runner.cfg, files=[runner.cfg.get('load_from')])
        check_outputs(find_outputs(runner.cfg), inputs)

    def before_train(self, runner: Runner) -> None:
        """Look at what another training has left in the ``work_dir``, and name results."""
        if runner.iter == 0:
            self._look_at_checkpoints(runner)
        if runner.val_loop is not None:
            _name_results(runner.val_loop.evaluator, runner.val_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Name the results of a validation that is not part of a training."""
        _name_results(runner.val_loop.evaluator, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Name the results of a test."""
        _name_results(runner.test_loop.evaluator, runner.test_dataloader.dataset)

    def _look_at_checkpoints(self, runner: Runner) -> None:
        """Refuse to train over the prompts that training begins with, and tell of others."""
        folder = Path(runner.work_dir)
        taken = sorted(f for kind in _CHECKPOINTS for f in folder.glob(kind))
        start = runner.cfg.get('load_from')
        for file in taken:
            if start and Path(start).exists() and file.samefile(start):
                raise OutputError(
                    f'load_from={start!r}: expected a file outside of the work_dir, whose '
                    'checkpoints this training replaces by its own, found it in '
                    f'{str(folder)!r}. Give another --work-dir, or --resume that training'
                )
        if taken:
            print_log(
                f'The work_dir {str(folder)!r} holds {len(taken)} checkpoints of another '
                f'training, such as {taken[0].name!r}: this one replaces those of the same '
                'iteration. To keep them, give another --work-dir',
                'current',
                logging.WARNING,
            )


def _name_results(evaluator: Evaluator, dataset: Dataset) -> None:
    """Let the evaluators that write results know the names of all images."""
    writers = [metric for metric in evaluator.metrics if getattr(metric, 'output_dir', None)]
    if not writers:
        return
    names = find_result_names(dataset)
    for metric in writers:
        if isinstance(metric, GroupedIoUMetric):
            metric.result_names = names
        else:
            _check_base_names(metric, names.images)


def _check_base_names(metric: BaseMetric, images: Any) -> None:
    """Refuse images that mmseg's evaluators would write into one file."""
    seen: dict = {}
    for image in images:
        stem = os.path.splitext(os.path.basename(image))[0]
        other = seen.setdefault(stem, image)
        if other != image:
            raise OutputError(
                f'{type(metric).__name__}.output_dir={metric.output_dir!r}: expected a file name '
                f'of its own for each image, found {other!r} and {image!r}, which it would both '
                f"write into {stem + '.png'!r}. Set type='GroupedIoUMetric', which keeps folders"
            )
