"""What can be wrong with a data set, said before a training step is spent on it."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.dataset import BaseDataset
from torch.utils.data import Dataset

__all__ = [
    'DatasetError',
    'check_classes',
    'check_label_ids',
    'check_sample',
    'check_samples',
    'explain_empty_datasets',
    'read_with',
]


class DatasetError(ValueError):
    """Data that the configured model cannot be trained or tested on."""


def explain_empty_datasets() -> None:
    """Let mmengine's data sets say that they are empty, and where they looked.

    mmengine 0.10 ends with numpy's "need at least one array to concatenate" while the data set
    is built, before any hook could look at it.
    """
    serialize = BaseDataset._serialize_data
    if getattr(serialize, 'explains', False):
        return

    def serialize_if_any(dataset: BaseDataset) -> Any:
        if not dataset.data_list:
            raise DatasetError(_describe_empty(dataset))
        return serialize(dataset)

    serialize_if_any.explains = True
    BaseDataset._serialize_data = serialize_if_any


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


def check_samples(dataset: Dataset, num_classes: int, ignore_index: int, max_samples: int) -> int:
    """Read images and label maps and check their sizes and ids.

    Args:
        dataset: A data set of mmseg.
        num_classes: ``C``.
        ignore_index: The label that does not count.
        max_samples: How many are read; more are thinned out evenly.

    Returns:
        How many samples were read.

    Raises:
        DatasetError: If there is no sample, or one cannot be read or does not fit.
    """
    if len(dataset) == 0:  # not serialised
        raise DatasetError(_describe_empty(dataset))
    loaders = [
        transform
        for transform in dataset.pipeline.transforms
        if isinstance(transform, (LoadImageFromFile, LoadAnnotations))
    ]
    count = min(len(dataset), max_samples)
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        sample = dataset.get_data_info(index)
        for loader in loaders:
            sample = read_with(loader, sample)
        check_sample(sample, num_classes, ignore_index)
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


def read_with(loader: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
    """Let a loader of a pipeline read its file.

    Args:
        loader: A ``LoadImageFromFile`` or ``LoadAnnotations``.
        sample: What ``dataset.get_data_info`` gives.

    Raises:
        DatasetError: If the file cannot be read, with what was found there.
    """
    is_image = isinstance(loader, LoadImageFromFile)
    kind, key = ('image', 'img_path') if is_image else ('label map', 'seg_map_path')
    path = sample.get(key)
    try:
        loaded = loader(sample)
        if loaded is None:  # mmcv's loader with ignore_empty=True
            raise ValueError('the loader returned nothing')
    except Exception as error:  # decoders raise almost any type
        raise DatasetError(
            f'cannot read {kind} {str(path)!r}: expected a file of a picture (PNG, JPEG, ...), '
            f'found {_describe_file(path)} ({type(error).__name__}: {error})'
        ) from error
    return loaded


def _describe_file(path: Optional[str]) -> str:
    if path is None:
        return 'no path (is it in data_prefix?)'
    file = Path(path)
    if not file.is_file():
        return 'no such file'
    with file.open('rb') as stream:
        return f'{file.stat().st_size} bytes that begin with {stream.read(12)!r}'


def check_sample(sample: Dict[str, Any], num_classes: int, ignore_index: int) -> None:
    """Check the label map of a sample: one channel, the size of its image, known ids.

    Args:
        sample: What the loaders have filled.
        num_classes: ``C``.
        ignore_index: The label that does not count.

    Raises:
        DatasetError: With the file, what was expected and what was found.
    """
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


def _describe_empty(dataset: Any) -> str:
    folders: List[str] = [str(path) for path in getattr(dataset, 'data_prefix', {}).values()]
    suffixes = [getattr(dataset, key, '') for key in ('img_suffix', 'seg_map_suffix')]
    files = f"'*{suffixes[0]}' images with '*{suffixes[1]}' label maps"
    return (
        f'the data set {type(dataset).__name__} is empty: expected {files} in '
        f'{" and ".join(map(repr, folders))}, found none'
    )
