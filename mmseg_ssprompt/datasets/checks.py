"""What can be wrong with a data set, said before a training step is spent on it."""

import struct
import zlib
from typing import Any, Dict, List, Optional, Sequence

import cv2
import numpy as np
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine import fileio
from mmengine.dataset import BaseDataset
from PIL import Image
from torch.utils.data import Dataset

__all__ = [
    'DatasetError',
    'UnreadableFileError',
    'check_classes',
    'check_label_ids',
    'check_label_shape',
    'check_label_size',
    'check_sample',
    'describe_empty',
    'explain_dataset_errors',
    'find_loaders',
    'read_error',
    'read_with',
]


class DatasetError(ValueError):
    """Data that the configured model cannot be trained or tested on."""


class UnreadableFileError(DatasetError):
    """A file that is not there, may not be read, or is no undamaged picture."""


# What storage and decoders raise of a file: mmcv asserts that OpenCV has found a picture, and
# Pillow calls a damaged PNG a SyntaxError. Others, such as a TypeError, may be mistakes in code.
_OF_FILES = (
    *(OSError, EOFError, AssertionError, SyntaxError, struct.error, zlib.error),
    *(cv2.error, Image.DecompressionBombError),
)


def explain_dataset_errors() -> None:
    """Let mmengine's data sets say where they looked for files, and which they cannot read.

    mmengine 0.10 ends with numpy's "need at least one array to concatenate" while an empty data
    set is built, before any hook could look at it. Of a label map that is damaged while a training
    reads it, Pillow says no name: "image file is truncated".
    """
    serialize, prepare = BaseDataset._serialize_data, BaseDataset.prepare_data
    if getattr(serialize, 'explains', False):
        return

    def serialize_if_any(dataset: BaseDataset) -> Any:
        if not dataset.data_list:
            raise DatasetError(describe_empty(dataset))
        return serialize(dataset)

    def prepare_or_name(dataset: BaseDataset, idx: int) -> Any:
        try:
            return prepare(dataset, idx)
        except DatasetError:
            raise
        except Exception as error:  # transforms and decoders raise almost any type
            # Of an index that is not there, get_data_info raises mmengine's own error again.
            raise _explain_failure(dataset, dataset.get_data_info(idx), error) from error

    serialize_if_any.explains = True
    BaseDataset._serialize_data = serialize_if_any
    BaseDataset.prepare_data = prepare_or_name


def _explain_failure(
    dataset: BaseDataset, sample: Dict[str, Any], error: Exception
) -> DatasetError:
    files = {key: sample.get(key) for key in ('img_path', 'seg_map_path')}
    try:
        for loader in find_loaders(dataset):
            sample = read_with(loader, sample)
    except DatasetError as unreadable:
        return unreadable
    return DatasetError(
        f'a sample of the data set {type(dataset).__name__} does not pass its pipeline: image '
        f'{str(files["img_path"])!r}, label map {str(files["seg_map_path"])!r} '
        f'({type(error).__name__}: {error})'
    )


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
        DatasetError: With the file, the ids, the number of their pixels and the likely causes.
    """
    wrong = ((labels >= num_classes) | (labels < 0)) & (labels != ignore_index)
    if wrong.any():
        ids = np.unique(labels[wrong]).tolist()
        raise DatasetError(
            f'label map {str(file)!r}: expected ids from 0 to {num_classes - 1} (the '
            f'{num_classes} classes) and {ignore_index} (ignored), found {ids[:10]} in '
            f'{int(wrong.sum())} pixels. If that is a void id, change it to {ignore_index} in the '
            "files, or leave its class out of the data set's metainfo=dict(classes=[...]), so "
            'that label_map ignores it; if 0 is void and classes begin at 1, set '
            'reduce_zero_label=True'
        )


def find_loaders(dataset: Dataset) -> List[Any]:
    """The transforms of a data set's pipeline that read images and label maps, in its order."""
    return [
        transform
        for transform in dataset.pipeline.transforms
        if isinstance(transform, (LoadImageFromFile, LoadAnnotations))
    ]


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
        raise read_error(loader, path, kind, error) from error
    return loaded


def read_error(loader: Any, path: Optional[str], kind: str, error: Exception) -> DatasetError:
    """The error of a file that a loader cannot read, with what lies there."""
    kind_of_error = UnreadableFileError if path and isinstance(error, _OF_FILES) else DatasetError
    return kind_of_error(
        f'cannot read {kind} {str(path)!r}: expected a file of a picture (PNG, JPEG, ...), '
        f'found {_describe_file(path, loader)} ({type(error).__name__}: {error})'
    )


def _describe_file(path: Optional[str], loader: Any) -> str:
    if path is None:
        return 'no path (is it in data_prefix?)'
    try:
        content = fileio.get(path, backend_args=getattr(loader, 'backend_args', None))
    except FileNotFoundError:
        return 'no such file'
    except Exception:  # whatever it is, it is said beside this
        return 'a file that cannot be opened'
    return f'{len(content)} bytes that begin with {bytes(content[:12])!r}'


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
    check_label_shape(sample)
    check_label_size(sample)
    check_label_ids(labels, num_classes, ignore_index, sample['seg_map_path'])


def check_label_shape(sample: Dict[str, Any]) -> None:
    """Refuse a label map that has not one channel.

    Raises:
        DatasetError: With the file and the shape.
    """
    labels, file = sample['gt_seg_map'], sample['seg_map_path']
    if labels.ndim != 2:
        raise DatasetError(
            f'label map {str(file)!r}: expected one channel of class ids, found the shape '
            f'{labels.shape}: colours must be converted to ids'
        )


def check_label_size(sample: Dict[str, Any]) -> None:
    """Refuse a label map (H, W) that has not the size of its image.

    Raises:
        DatasetError: With both files and sizes.
    """
    labels, file = sample['gt_seg_map'], sample['seg_map_path']
    if 'ori_shape' in sample and labels.shape != tuple(sample['ori_shape']):
        raise DatasetError(
            f'label map {str(file)!r} has {labels.shape[0]} x {labels.shape[1]} pixels, but its '
            f'image {str(sample["img_path"])!r} has {sample["ori_shape"][0]} x '
            f'{sample["ori_shape"][1]}'
        )


def describe_empty(dataset: Any) -> str:
    """Say that a data set has no samples, and where it looked for them."""
    folders: List[str] = [str(path) for path in getattr(dataset, 'data_prefix', {}).values()]
    suffixes = [getattr(dataset, key, '') for key in ('img_suffix', 'seg_map_suffix')]
    files = f"'*{suffixes[0]}' images with '*{suffixes[1]}' label maps"
    return (
        f'the data set {type(dataset).__name__} is empty: expected {files} in '
        f'{" and ".join(map(repr, folders))}, found none'
    )
