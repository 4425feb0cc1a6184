"""Checkpoints of prompts: small, and readable by everybody without running code."""

import logging
from collections import OrderedDict
from typing import Any, Dict

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

__all__ = ['PromptCheckpointHook', 'to_plain']

_PLAIN = (type(None), bool, int, float, complex, str, bytes, Tensor)


class NotPlainError(TypeError):
    """A value that a checkpoint of tensors and plain values has no place for."""


@HOOKS.register_module()
class PromptCheckpointHook(Hook):
    """Saves only what belongs to no frozen part, as tensors and plain values.

    The frozen weights are loaded from their own files when the model is built, so a checkpoint
    without them is complete: about 3 MB with the state of the optimiser instead of 375 MB to
    2.5 GB. mmengine puts the history of the log into it as Python objects, which torch refuses to
    load since 2.6 (open-mmlab/mmengine issues 1650 and 1655); here they become tensors, and
    objects again when a checkpoint is loaded.
    """

    priority = 'VERY_LOW'  # after hooks that add to the checkpoint

    def before_save_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Leave out frozen weights, and turn what is left into tensors and plain values."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if hasattr(model, 'without_frozen'):
            checkpoint['state_dict'] = model.without_frozen(checkpoint['state_dict'])
        hub = checkpoint.get('message_hub')
        if hub is not None:
            hub['runtime_info'] = _keep_plain(hub['runtime_info'])
            hub['log_scalars'] = OrderedDict(
                (name, _pack(history)) for name, history in hub['log_scalars'].items()
            )
        for key in list(checkpoint):
            checkpoint[key] = to_plain(checkpoint[key], where=key)

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Turn the history of the log into mmengine's objects again."""
        hub = checkpoint.get('message_hub')
        if hub is not None:
            scalars = hub['log_scalars']
            for name, packed in scalars.items():
                if isinstance(packed, dict):
                    scalars[name] = _unpack(packed)


def to_plain(value: Any, where: str = 'value') -> Any:
    """Copy nested containers, with numpy's scalars and arrays as numbers and tensors.

    Args:
        value: Dicts, lists and tuples of tensors, numbers, strings and numpy values.
        where: What is being converted, for the error.

    Raises:
        NotPlainError: If something is none of these, with the path to it.
    """
    if type(value) in _PLAIN or isinstance(value, Tensor):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufc':
        return torch.from_numpy(value.copy())
    if type(value) in (dict, OrderedDict):
        return type(value)((k, to_plain(v, f'{where}.{k}')) for k, v in value.items())
    if type(value) in (list, tuple):
        return type(value)(to_plain(v, f'{where}[{i}]') for i, v in enumerate(value))
    raise NotPlainError(
        f'checkpoints hold tensors and plain values only, so that they load without running code, '
        f'but {where} is a {type(value).__module__}.{type(value).__qualname__}'
    )


def _keep_plain(values: Dict[str, Any]) -> Dict[str, Any]:
    """The plain values among those that any hook may have left in the message hub."""
    kept = OrderedDict()
    for key, value in values.items():
        try:
            kept[key] = to_plain(value, f'message_hub.runtime_info.{key}')
        except NotPlainError as error:
            print_log(f'{error}: it is not saved', logger='current', level=logging.WARNING)
    return kept


def _pack(history: HistoryBuffer) -> Dict[str, Any]:
    log, count = (torch.from_numpy(np.asarray(x, dtype=np.float64)) for x in history.data)
    return dict(log_history=log, count_history=count, max_length=history.max_length)


def _unpack(packed: Dict[str, Any]) -> HistoryBuffer:
    log, count = (packed[key].cpu().numpy() for key in ('log_history', 'count_history'))
    return HistoryBuffer(log, count, packed['max_length'])
