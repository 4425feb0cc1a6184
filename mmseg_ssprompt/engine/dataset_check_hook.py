"""Looks at the data before a training step is spent on them."""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import Dataset

__all__ = ['DatasetCheckHook', 'DatasetError', 'check_classes', 'check_label_ids', 'check_samples']


class DatasetError(ValueError):
    """Data that the configured model cannot be trained or tested on."""


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
        self._num_classes: Optional[int] = None

    def before_train(self, runner: Runner) -> None:
        """Check training and validation data."""
        self._num_classes = _decode_head(runner).num_classes
        self._check(runner, runner.train_dataloader.dataset, 'training')
        if runner.val_loop is not None:
            self._check(runner, runner.val_dataloader.dataset, 'validation')

    def before_test(self, runner: Runner) -> None:
        """Check test data."""
        self._check(runner, runner.test_dataloader.dataset, 'test')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Check the labels of a batch, which are still on the CPU."""
        for sample in data_batch['data_samples']:
            labels = sample.gt_sem_seg.data.numpy()
            ignore_index = _decode_head(runner).ignore_index
            check_label_ids(labels, self._num_classes, ignore_index, sample.seg_map_path)

    def _check(self, runner: Runner, dataset: Dataset, name: str) -> None:
        head = _decode_head(runner)
        for leaf in _leaves(dataset):
            check_classes(leaf, head.class_names, name)
        if is_main_process():
            for leaf in _leaves(dataset):
                count = check_samples(
                    leaf, head.num_classes, head.ignore_index, name, self.max_samples
                )
                runner.logger.info(f'Checked {count} of {len(leaf)} {name} samples')
        barrier()


def check_classes(dataset: Dataset, class_names: Sequence[str], name: str) -> None:
    """Compare the classes of a data set with the semantic prompts.

    Prompts may be worded differently from a data set's names, so only their number must agree;
    the same names in another order are a mistake.

    Raises:
        DatasetError: If they do not agree, with both lists.
    """
    classes = list(dataset.metainfo['classes'])
    prompts = list(class_names)
    if len(classes) == len(prompts) and (classes == prompts or set(classes) != set(prompts)):
        return
    problem = (
        'in another order than' if len(classes) == len(prompts) else f'but there are {len(prompts)}'
    )
    raise DatasetError(
        f'the {name} data set {type(dataset).__name__} has {len(classes)} classes, {problem} '
        f'semantic prompts.\n  data set: {classes}\n  prompts:  {prompts}\n'
        'Set decode_head.num_classes and decode_head.semantic_prompts to the classes of the data.'
    )


def check_samples(
    dataset: Dataset, num_classes: int, ignore_index: int, name: str, max_samples: int
) -> int:
    """Read images and label maps and check their sizes and ids.

    Args:
        dataset: A data set of mmseg.
        num_classes: ``C``.
        ignore_index: The label that does not count.
        name: What the data are for, for the errors.
        max_samples: How many are read; more are thinned out evenly.

    Returns:
        How many samples were read.

    Raises:
        DatasetError: If there is no sample, or one that cannot be read or does not fit.
    """
    if len(dataset) == 0:
        raise DatasetError(_describe_empty(dataset, name))
    loaders = [
        transform
        for transform in dataset.pipeline.transforms
        if isinstance(transform, (LoadImageFromFile, LoadAnnotations))
    ]
    count = min(len(dataset), max_samples)
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        sample = dataset.get_data_info(index)
        for loader in loaders:
            sample = _load(loader, sample)
        _check_sample(sample, num_classes, ignore_index)
    return count


def check_label_ids(
    labels: np.ndarray, num_classes: int, ignore_index: int, file: Optional[str]
) -> None:
    """Refuse ids that are neither a class nor the ignored one.

    Args:
        labels: Integers of any shape.
        num_classes: ``C``.
        ignore_index: The label that does not count.
        file: Where they come from, for the error.

    Raises:
        DatasetError: With the file, the ids and the number of their pixels.
    """
    wrong = (labels >= num_classes) & (labels != ignore_index)
    if wrong.any():
        ids = np.unique(labels[wrong]).tolist()
        raise DatasetError(
            f'label map {str(file)!r}: expected ids from 0 to {num_classes - 1} (the '
            f'{num_classes} classes) and {ignore_index} (ignored), found {ids[:10]} in '
            f'{int(wrong.sum())} pixels. If that is a void id, change it to {ignore_index} in the '
            'files; if 0 is void and classes begin at 1, set reduce_zero_label=True'
        )


def _decode_head(runner: Runner) -> Any:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return getattr(model, 'module', model).decode_head  # SegTTAModel keeps it in .module


def _leaves(dataset: Any) -> Iterator[Dataset]:
    """The data sets inside mmengine's wrappers that repeat or concatenate."""
    if hasattr(dataset, 'pipeline'):
        yield dataset
        return
    for inner in getattr(dataset, 'datasets', None) or [dataset.dataset]:
        yield from _leaves(inner)


def _load(loader: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
    is_image = isinstance(loader, LoadImageFromFile)
    kind, key = ('image', 'img_path') if is_image else ('label map', 'seg_map_path')
    try:
        loaded = loader(sample)
        if loaded is None:  # mmcv's loader with ignore_empty=True
            raise ValueError('the loader returned nothing')
    except Exception as error:  # decoders raise almost any type
        raise DatasetError(
            f'cannot read {kind} {str(sample[key])!r}: expected a file of a picture (PNG, JPEG, '
            f'...), found {_describe_file(sample[key])} ({type(error).__name__}: {error})'
        ) from error
    return loaded


def _describe_file(path: str) -> str:
    file = Path(path)
    if not file.is_file():
        return 'no such file'
    with file.open('rb') as stream:
        return f'{file.stat().st_size} bytes that begin with {stream.read(12)!r}'


def _check_sample(sample: Dict[str, Any], num_classes: int, ignore_index: int) -> None:
    labels = sample.get('gt_seg_map')
    if labels is None:
        return
    file = sample['seg_map_path']
    if labels.ndim != 2:
        raise DatasetError(
            f'label map {str(file)!r}: expected one channel of class ids, found the shape '
            f'{labels.shape}: colours must be converted to ids'
        )
    if 'ori_shape' in sample and labels.shape != tuple(sample['ori_shape']):
        raise DatasetError(
            f'label map {str(file)!r} has {labels.shape[0]} x {labels.shape[1]} pixels, but its '
            f'image {str(sample["img_path"])!r} has {sample["ori_shape"][0]} x '
            f'{sample["ori_shape"][1]}'
        )
    check_label_ids(labels, num_classes, ignore_index, file)


def _describe_empty(dataset: Any, name: str) -> str:
    folders: List[str] = [str(path) for path in getattr(dataset, 'data_prefix', {}).values()]
    files = f"'*{dataset.img_suffix}' images with '*{dataset.seg_map_suffix}' label maps"
    return (
        f'the {name} data set {type(dataset).__name__} is empty: expected {files} in '
        f'{" and ".join(map(repr, folders))}, found none'
    )
