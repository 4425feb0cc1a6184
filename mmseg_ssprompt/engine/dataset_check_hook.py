"""Looks at the data before a training step is spent on them."""

from typing import Any, Iterator

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ..datasets.checks import check_classes, check_label_ids, check_samples

__all__ = ['DatasetCheckHook']


@HOOKS.register_module()
class DatasetCheckHook(Hook):
    """Checks classes, images and label maps before training and testing.

    Before the first step, the classes of every data set are compared with the prompts, and images
    and label maps are read: all of them, or ``max_samples`` evenly spread ones. During training
    the labels of each batch are checked before it goes to the model.

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
            labels, file = sample.gt_sem_seg.data.numpy(), sample.metainfo.get('seg_map_path')
            check_label_ids(labels, head.num_classes, head.ignore_index, file)

    def _check(self, runner: Runner, dataset: Dataset, name: str) -> None:
        head = _decode_head(runner)
        for leaf in _leaves(dataset):
            check_classes(leaf, head.class_names, name)
        if is_main_process():
            for leaf in _leaves(dataset):
                count = check_samples(leaf, head.num_classes, head.ignore_index, self.max_samples)
                runner.logger.info(f'Checked {count} of {len(leaf)} {name} samples')
        barrier()


def _decode_head(runner: Runner) -> Any:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return getattr(model, 'module', model).decode_head  # SegTTAModel keeps it in .module


def _leaves(dataset: Any) -> Iterator[Dataset]:
    """The data sets inside wrappers that repeat, concatenate or mix."""
    if hasattr(dataset, 'datasets'):
        for inner in dataset.datasets:
            yield from _leaves(inner)
    elif hasattr(dataset, 'dataset'):  # mmseg's MultiImageMixDataset also has a pipeline
        yield from _leaves(dataset.dataset)
    else:
        yield dataset
