"""Checkpoints of prompts: small, and readable by everybody without running code."""

import contextlib
import logging
from collections import OrderedDict
from typing import Any, Dict, Mapping

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ..models.tensor_checks import count_non_finite

__all__ = ['NonFinitePromptsError', 'PromptCheckpointHook', 'check_finite', 'to_plain']

_PLAIN = (type(None), bool, int, float, str, Tensor)  # what every torch loads safely


class NotPlainError(ValueError):
    """A value that a checkpoint of tensors and plain values has no place for."""


class NonFinitePromptsError(ValueError):
    """Prompts that are NaN or infinite, which no checkpoint should be overwritten with."""


@HOOKS.register_module()
class PromptCheckpointHook(Hook):
    """Saves only what belongs to no frozen part, as tensors and plain values.

    The frozen weights are loaded from their own files when the model is built, so a checkpoint
    without them is complete: 4 MB for ADE20K, with the optimiser's state, instead of 375 MB to
    2.5 GB. mmengine puts the history of the log into it as Python objects, which torch refuses to
    load since 2.6 (open-mmlab/mmengine issues 1650 and 1655); here they become tensors, and
    objects again when a checkpoint is loaded.
    """

    priority = 'VERY_LOW'  # after hooks that add to the checkpoint

    def before_save_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Leave out frozen weights, and turn what is left into tensors and plain values."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if hasattr(model, 'without_frozen'):
            # EMAHook adds its average, and on resuming swaps the two tensor by tensor.
            for key, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
                if key in checkpoint:
                    checkpoint[key] = model.without_frozen(checkpoint[key], prefix)
                    check_finite(checkpoint[key], key)
        hub = checkpoint.get('message_hub')
        if hub is not None:
            where = 'message_hub.runtime_info'
            hub['runtime_info'] = _keep_plain(hub['runtime_info'], where)
            hub['log_scalars'] = OrderedDict(
                (name, _pack(history)) for name, history in hub['log_scalars'].items()
            )
        meta = checkpoint.get('meta', {})
        if 'dataset_meta' in meta:
            meta['dataset_meta'] = _keep_plain(meta['dataset_meta'], 'meta.dataset_meta')
        if 'param_schedulers' in checkpoint:
            checkpoint['param_schedulers'] = _without_functions(checkpoint['param_schedulers'])
        for key in list(checkpoint):
            checkpoint[key] = to_plain(checkpoint[key], where=key)

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Turn the history of the log into mmengine's objects again."""
        hub = checkpoint.get('message_hub')
        if hub is not None:
            scalars = hub.get('log_scalars', {})
            for name, packed in scalars.items():
                if isinstance(packed, dict):
                    scalars[name] = _unpack(packed)


def check_finite(state_dict: Mapping[str, Tensor], where: str) -> None:
    """Look for NaN and infinity in what is to be saved.

    Args:
        state_dict: Dense tensors by name.
        where: What it is, for the error.

    Raises:
        NonFinitePromptsError: With the first tensor that has any.
    """
    for key, value in state_dict.items():
        count = count_non_finite(value)
        if count:
            raise NonFinitePromptsError(
                f'{where}.{key}: expected finite numbers, found {count} of {value.numel()} that '
                'are NaN or infinite. Nothing was saved: go on from an earlier checkpoint, with a '
                'lower learning rate, or bfloat16 in place of float16'
            )


def to_plain(value: Any, where: str = 'value') -> Any:
    """Copy nested containers, with numpy's scalars and arrays as numbers and tensors.

    Args:
        value: Dicts, lists and tuples of tensors, numbers, strings and numpy values.
        where: What is being converted, for the error.

    Raises:
        NotPlainError: If something is none of these, with the path to it.
    """
    if isinstance(value, np.generic):
        value = value.item()  # may be another object: of dates, of long doubles
    if type(value) in _PLAIN or isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray):
        with contextlib.suppress(TypeError, ValueError):  # types that torch does not have
            return torch.from_numpy(value.copy())
    if isinstance(value, dict):  # also mmengine's ConfigDict
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        plain = kind((to_plain(k, where), to_plain(v, f'{where}.{k}')) for k, v in value.items())
        if hasattr(value, '_metadata'):  # of a state dict, which torch keeps beside its tensors
            plain._metadata = to_plain(value._metadata, f'{where}._metadata')
        return plain
    if isinstance(value, (list, tuple)):
        kind = tuple if isinstance(value, tuple) else list
        return kind(to_plain(v, f'{where}[{i}]') for i, v in enumerate(value))
    raise NotPlainError(
        f'checkpoints hold tensors and plain values only, so that they load without running code, '
        f'but {where} is a {type(value).__module__}.{type(value).__qualname__}'
    )


def _keep_plain(values: Dict[str, Any], where: str) -> Dict[str, Any]:
    """The plain values among those that any hook or data set may have added."""
    kept: Dict[str, Any] = OrderedDict() if isinstance(values, OrderedDict) else {}
    for key, value in values.items():
        try:
            kept[key] = to_plain(value, f'{where}.{key}')
        except NotPlainError as error:
            print_log(f'{error}: it is not saved', logger='current', level=logging.WARNING)
    return kept


def _without_functions(state: Any) -> Any:
    """Schedulers such as OneCycleLR keep functions in their state, and have them anyway."""
    if isinstance(state, dict):
        return {k: _without_functions(v) for k, v in state.items() if not callable(v)}
    if isinstance(state, list):
        return [_without_functions(v) for v in state]
    return state


def _pack(history: HistoryBuffer) -> Dict[str, Any]:
    log, count = (torch.from_numpy(np.asarray(x, dtype=np.float64)) for x in history.data)
    return dict(log_history=log, count_history=count, max_length=history.max_length)


def _unpack(packed: Dict[str, Any]) -> HistoryBuffer:
    log, count = (packed[key].cpu().numpy() for key in ('log_history', 'count_history'))
    return HistoryBuffer(log, count, packed['max_length'])
