"""What few-shot training sets are drawn from: the data sets inside of wrappers, as one."""

import copy
import os
from typing import Any, Iterator, List, Sequence

from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmseg.datasets import MultiImageMixDataset
from torch.utils.data import ConcatDataset as TorchConcatDataset

from ..dataset_wrappers import each_dataset
from ..folders import tell_apart
from .checks import DatasetError

__all__ = ['list_parts', 'name_images', 'narrow']


def list_parts(dataset: Any) -> List[BaseDataset]:
    """The data sets that list files, inside of what wraps them; each with its list loaded.

    Args:
        dataset: A data set of mmseg or a wrapper around some.

    Raises:
        DatasetError: If one lists no files, or two have other classes.
    """
    parts = list(each_dataset(dataset))
    for part in parts:
        if not isinstance(part, BaseDataset):
            raise DatasetError(
                'FewShotDataset draws from data sets that list files (a BaseSegDataset), found '
                f'{type(part).__name__}: wrap what is inside of it'
            )
        part.full_init()
    classes = [list(part.metainfo['classes']) for part in parts]
    other = next((i for i, names in enumerate(classes) if names != classes[0]), None)
    if other is not None:
        raise DatasetError(
            f'FewShotDataset draws for one list of classes, but part {other} has {classes[other]}, '
            f'part 0 has {classes[0]}. Give the parts the same metainfo, or draw from each of them'
        )
    return parts


def name_images(parts: Sequence[BaseDataset]) -> List[str]:
    """The paths of all images below the image folder or the root, the same on every machine.

    Images of several parts begin with what tells the parts' image folders apart, such as
    ``'day/0001.png'`` and ``'night/0001.png'``, so that the same name in two parts is no collision.
    """
    if len(parts) == 1:
        return _relative_names(parts[0])
    folders = [str(part.data_prefix.get('img_path') or part.data_root or '') for part in parts]
    return [
        f'{label}/{name}'
        for label, part in zip(tell_apart(folders), parts)
        for name in _relative_names(part)
    ]


def _relative_names(dataset: BaseDataset) -> List[str]:
    roots = [dataset.data_prefix.get('img_path'), dataset.data_root]
    folders = [root.replace(os.sep, '/').rstrip('/') + '/' for root in roots if root]
    names = []
    for index in range(len(dataset)):
        path = dataset.get_data_info(index)['img_path'].replace(os.sep, '/')
        folder = next((folder for folder in folders if path.startswith(folder)), '')
        names.append(path[len(folder) :])
    return names


def narrow(dataset: Any, indices: Sequence[int]) -> Any:
    """A data set or wrapper that has some of the images only, whatever its transforms mix.

    Args:
        dataset: What :func:`list_parts` was given.
        indices: Numbers of images, counted through all parts, in the wanted order.

    Returns:
        The same wrappers around subsets of the parts. A ``RepeatDataset`` is left out, because
        each image counts once.

    Raises:
        DatasetError: If a wrapper is neither mmengine's nor mmseg's.
    """
    chosen, start = [], 0
    for part in each_dataset(dataset):
        stop = start + len(part)
        chosen.append([index - start for index in indices if start <= index < stop])
        start = stop
    return _narrow(dataset, iter(chosen))


def _narrow(dataset: Any, chosen: Iterator[List[int]]) -> Any:
    """The narrowed data set; None if it has no image."""
    if isinstance(dataset, ConcatDataset):
        parts = [part for part in (_narrow(p, chosen) for p in dataset.datasets) if part]
        if len(parts) < 2:
            return parts[0] if parts else None
        narrowed = copy.copy(dataset)
        TorchConcatDataset.__init__(narrowed, parts)  # mmengine's takes no wrappers
        return narrowed
    if isinstance(dataset, RepeatDataset):
        return _narrow(dataset.dataset, chosen)
    if isinstance(dataset, MultiImageMixDataset):
        inner = _narrow(dataset.dataset, chosen)
        if inner is None:
            return None
        narrowed = copy.copy(dataset)
        narrowed.dataset, narrowed.num_samples = inner, len(inner)
        return narrowed
    if isinstance(dataset, BaseDataset):
        indices = next(chosen)
        if not indices:
            return None
        # A subset in its own right: a transform that gives None is tried again on another image.
        # Not get_subset(), whose copies remember all that was copied before by addresses, which
        # are used again (mmengine's _copy_without_annotation has a dict as default of "memo").
        narrowed = copy.copy(dataset)
        narrowed.get_subset_(indices)
        return narrowed
    raise DatasetError(
        f'FewShotDataset cannot draw inside of a {type(dataset).__name__}: put FewShotDataset '
        'inside of it, around the data set that lists files'
    )
