"""Looks at where a run writes, before it writes anything there."""

import os
from typing import Dict

from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..outputs import OutputError, ResultNames, check_outputs, find_inputs, find_outputs

__all__ = ['OutputCheckHook']


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
        """Name the results of validations."""
        if runner.val_loop is not None:
            self.before_val(runner)

    def before_val(self, runner: Runner) -> None:
        """Name the results of a validation."""
        _name_results(runner, runner.val_loop.evaluator, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Name the results of a test."""
        _name_results(runner, runner.test_loop.evaluator, runner.test_dataloader.dataset)


def _name_results(runner: Runner, evaluator: Evaluator, dataset: BaseDataset) -> None:
    """Let the evaluators that write results know the names of all images."""
    writers = [metric for metric in evaluator.metrics if getattr(metric, 'output_dir', None)]
    if not writers:
        return
    names = ResultNames(dataset)
    check_outputs(find_outputs(runner.cfg), names.inputs)
    for metric in writers:
        if hasattr(metric, 'result_names'):  # of ours
            metric.result_names = names
        else:
            _check_base_names(type(metric).__name__, names)


def _check_base_names(metric: str, names: ResultNames) -> None:
    """Refuse images that mmseg's evaluators would write into one file."""
    seen: Dict[str, str] = {}
    for image in names.images:
        stem = os.path.splitext(os.path.basename(image))[0]
        other = seen.setdefault(stem, image)
        if other != image:
            raise OutputError(
                f'{metric} writes {stem!r} for both {other!r} and {image!r}: expected a file name '
                "of its own for each image. Set type='GroupedIoUMetric', which keeps folders"
            )
