"""Data sets inside other data sets: those that concatenate, repeat, mix, seed or draw."""

from typing import Any, Iterator, List

from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS

from .config_entries import ConfigDict

__all__ = ['build_dataset', 'each_dataset', 'each_dataset_config', 'each_layer', 'find_configs']


def each_layer(dataset: Any) -> Iterator[Any]:
    """A data set and those inside of it, the outermost first.

    Args:
        dataset: A data set, or a wrapper such as mmengine's ``ConcatDataset`` and
            ``RepeatDataset``, mmseg's ``MultiImageMixDataset``, or ours.
    """
    yield dataset
    for inner in _inner_datasets(dataset):
        yield from each_layer(inner)


def each_dataset(dataset: Any) -> Iterator[BaseDataset]:
    """The data sets that read files, inside of what wraps them.

    Args:
        dataset: As for :func:`each_layer`.
    """
    return (layer for layer in each_layer(dataset) if not _inner_datasets(layer))


def _inner_datasets(dataset: Any) -> List[Any]:
    if hasattr(dataset, 'datasets'):
        return list(dataset.datasets)
    return [dataset.dataset] if hasattr(dataset, 'dataset') else []


def each_dataset_config(config: Any) -> Iterator[ConfigDict]:
    """The configs of the data sets that read files, inside of the configs that wrap them.

    Each is the part of ``config`` itself, so that what is changed in it is changed there.

    Args:
        config: Config of a data set or of a wrapper, or a list of them.
    """
    if isinstance(config, (list, tuple)):
        for inner in config:
            yield from each_dataset_config(inner)
    elif isinstance(config, dict):
        wrapped = [config[key] for key in ('datasets', 'dataset') if _is_nested(config.get(key))]
        if wrapped:
            yield from each_dataset_config(wrapped)
        else:
            yield config


def build_dataset(config: Any) -> Any:
    """Build a data set.

    Args:
        config: Its config, or a list of configs, which are concatenated; or a data set, which is
            returned.
    """
    if isinstance(config, (list, tuple)):
        config = dict(type='ConcatDataset', datasets=list(config))
    return DATASETS.build(config) if isinstance(config, dict) else config


def find_configs(config: Any, kind: str) -> Iterator[ConfigDict]:
    """The outermost configs of a type in the config of a data set, and in what it nests.

    Args:
        config: Config of a data set or of a wrapper, or a list of them.
        kind: The type, such as ``'FewShotDataset'``.
    """
    if isinstance(config, (list, tuple)):
        for inner in config:
            yield from find_configs(inner, kind)
    elif isinstance(config, dict):
        if config.get('type') == kind:
            yield config
        else:
            for key in ('datasets', 'dataset'):
                yield from find_configs(config.get(key), kind)


def _is_nested(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple)) and bool(value)
