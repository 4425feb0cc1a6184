"""Settings of a config that may be one or several, or lie inside of others."""

from typing import Any, Dict, Iterator, List, Mapping, Tuple

from mmengine.config import Config

__all__ = ['ConfigDict', 'each_entry', 'each_evaluator', 'innermost_model']

#: The config of a part: its ``type`` and its arguments.
ConfigDict = Dict[str, Any]


def each_entry(value: Any, key: str) -> List[Tuple[str, Any]]:
    """A setting that may be one or a list, with the key of each."""
    if isinstance(value, (list, tuple)):
        return [(f'{key}[{index}]', each) for index, each in enumerate(value)]
    return [(key, value)]


def each_evaluator(cfg: Config, key: str) -> Iterator[Tuple[str, ConfigDict]]:
    """The configs of metrics, with their keys; those that are built already are left out."""
    value = cfg.get(key)
    if isinstance(value, Mapping) and isinstance(value.get('metrics'), (list, tuple, Mapping)):
        key, value = f'{key}.metrics', value['metrics']  # Evaluator(metrics=[...])
    for place, config in each_entry(value, key):
        if isinstance(config, dict):
            yield place, config


def innermost_model(cfg: Config) -> ConfigDict:
    """The config of the segmentor, also inside of test-time augmentation; empty without one."""
    model = cfg.get('model')
    while isinstance(model, Mapping) and isinstance(model.get('module'), Mapping):
        model = model['module']
    return model if isinstance(model, dict) else {}
