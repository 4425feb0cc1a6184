"""Looks at the data before a training step is spent on them."""

import logging
from typing import Any, Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ..datasets.checks import DatasetError, check_classes, check_label_ids
from ..datasets.sample_checks import unwrap_datasets
from ..datasets.survey import Survey, survey_samples
from ..main_process import on_main_process

__all__ = ['DatasetCheckHook']


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Checks classes, images and label maps before training and testing.

    Before the first step, the classes of every data set are compared with the prompts, and images
    and label maps are read: all of them, or ``max_samples`` evenly spread ones. What can be used,
    but perhaps not as one thinks, is logged once with its count. During training the labels of
    each batch are checked before it goes to the model. ``tools/check_dataset.py`` reads all
    samples and lists all that is wrong.

    Args:
        max_samples: How many samples of a data set are read. Defaults to 1000.

    Raises:
        DatasetError: With the file, what was expected and what was found.
    """

    def __init__(self, max_samples: int = 1000) -> None:
        self.max_samples = max_samples

    def before_train(self, runner: Runner) -> None:
        """Check training and validation data."""
        self._check(runner, runner.train_dataloader.dataset, 'training')
        if runner.val_loop is not None:
            self._check(runner, runner.val_dataloader.dataset, 'validation')

    def before_test(self, runner: Runner) -> None:
        """Check test data."""
        self._check(runner, runner.test_dataloader.dataset, 'test')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Check the labels of a batch, which are still on the CPU."""
        head = _decode_head(runner)
        for sample in data_batch['data_samples']:
            file = sample.metainfo.get('seg_map_path')
            if 'gt_sem_seg' not in sample:
                raise DatasetError(
                    f'image {str(sample.metainfo.get("img_path"))!r}: expected a label map to '
                    "train with, found none. Put dict(type='LoadAnnotations') into the pipeline"
                )
            labels = sample.gt_sem_seg.data.numpy()
            check_label_ids(labels, head.num_classes, head.ignore_index, file)

    def _check(self, runner: Runner, dataset: Dataset, name: str) -> None:
        leaves = list(unwrap_datasets(dataset))
        for leaf in leaves:
            check_classes(leaf, _decode_head(runner).class_names, name)
        max_damaged = getattr(dataset, 'max_damaged', 0)  # of training data
        on_main_process(lambda: self._survey(runner, leaves, name, max_damaged))

    def _survey(
        self, runner: Runner, leaves: Sequence[Dataset], name: str, max_damaged: int
    ) -> None:
        head = _decode_head(runner)
        survey = Survey(leaves[0].metainfo['classes'])
        for leaf in leaves:
            count = survey_samples(
                *(survey, leaf, head.num_classes, head.ignore_index),
                *(self.max_samples, max_damaged),
            )
            runner.logger.info(f'Checked {count} of {len(leaf)} {name} samples')
        if 'labelled_classes' not in leaves[0].metainfo:  # else names may be none of the data set's
            survey.check_whole()
        for warning in survey.warnings():
            print_log(f'{name} data: {warning}', 'current', logging.WARNING)


def _decode_head(runner: Runner) -> Any:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return getattr(model, 'module', model).decode_head  # SegTTAModel keeps it in .module
