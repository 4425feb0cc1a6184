"""Data sets inside other data sets: those that concatenate, repeat, mix, seed or draw."""

from typing import Any, Iterator, List

from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS

from .config_entries import ConfigDict

__all__ = ['build_dataset', 'each_dataset', 'each_dataset_config', 'each_layer', 'find_configs']


def each_layer(dataset: Any) -> Iterator[Any]:
    """A data set and those inside of wrappers of mmengine, mmseg and ours, the outermost first."""
    yield dataset
    for inner in _inner_datasets(dataset):
        yield from each_layer(inner)


def each_dataset(dataset: Any) -> Iterator[BaseDataset]:
    """The data sets that read files, inside of what wraps them."""
    return (layer for layer in each_layer(dataset) if not _inner_datasets(layer))


def _inner_datasets(dataset: Any) -> List[Any]:
    if hasattr(dataset, 'datasets'):
        return list(dataset.datasets)
    return [dataset.dataset] if hasattr(dataset, 'dataset') else []


def each_dataset_config(config: Any) -> Iterator[ConfigDict]:
    """The configs of the data sets that read files, inside of the configs or lists around them.

    Each is the part of ``config`` itself, so that what is changed in it is changed there.
    """
    return (each for each in _each_config(config) if not _list_wrapped(each))


def _each_config(config: Any) -> Iterator[ConfigDict]:
    """Configs in the config of a data set and in what it nests, the outermost first."""
    if isinstance(config, (list, tuple)):
        for inner in config:
            yield from _each_config(inner)
    elif isinstance(config, dict):
        yield config
        yield from _each_config(_list_wrapped(config))


def _list_wrapped(config: ConfigDict) -> List[Any]:
    values = [config.get(key) for key in ('datasets', 'dataset')]
    return [value for value in values if value and isinstance(value, (dict, list, tuple))]


def build_dataset(config: Any) -> Any:
    """Build a data set of its config, or of a list of configs; one that is built is returned."""
    if isinstance(config, (list, tuple)):
        config = dict(type='ConcatDataset', datasets=list(config))
    return DATASETS.build(config) if isinstance(config, dict) else config


def find_configs(config: Any, kind: str) -> Iterator[ConfigDict]:
    """The outermost configs of a type, such as 'FewShotDataset', in the config of a data set."""
    if isinstance(config, dict) and config.get('type') == kind:
        yield config
        return
    for inner in _list_wrapped(config) if isinstance(config, dict) else config or ():
        yield from find_configs(inner, kind)
