"""Checkpoints of prompts: small, and readable by everybody without running code."""

import logging
from collections import OrderedDict
from typing import Any, Dict

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..main_process import unwrap_model
from ..plain import NotPlainError, to_plain
from ..weights.tensor_checks import check_finite

__all__ = ['PromptCheckpointHook']


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
        model = unwrap_model(runner.model)
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
