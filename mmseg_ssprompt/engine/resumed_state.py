"""Whether the state in a checkpoint is that of the training that is to go on from it."""

from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import torch
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from ..models.tensor_checks import count_non_finite, find_unusable

__all__ = ['find_other_state']


def find_other_state(checkpoint: Mapping[str, Any], runner: Runner) -> Optional[str]:
    """Say in what the state in a checkpoint cannot be that of a runner's training.

    Args:
        checkpoint: One in which ``find_missing_state`` finds nothing.
        runner: With its optimiser and schedulers, before they are loaded.

    Returns:
        What was expected and what was found; None if the state fits.
    """
    if 'ema_state_dict' in checkpoint and not any(isinstance(h, EMAHook) for h in runner.hooks):
        return (
            'expected no moving average, since there is no EMAHook, found ema_state_dict: the '
            'prompts in state_dict are the average then, and not those that train'
        )
    schedulers, states = runner.param_schedulers, checkpoint.get('param_schedulers')
    if isinstance(schedulers, list) and isinstance(states, list) and len(schedulers) != len(states):
        return f'param_schedulers: expected those of {len(schedulers)}, found {len(states)}'
    if isinstance(runner.optim_wrapper, OptimWrapper):
        return _find_other_optimizer(checkpoint['optimizer'], runner.optim_wrapper)
    return None


def _find_other_optimizer(state: Mapping[str, Any], wrapper: OptimWrapper) -> Optional[str]:
    expected, found = (
        [len(group.get('params', ())) for group in groups]
        for groups in (wrapper.param_groups, state.get('param_groups', ()))
    )
    if expected != found:
        return (
            f'optimizer: expected groups of {expected} parameters, found {found}: other parts of '
            'the model train now'
        )
    for name, value in _tensors(state['state']):
        if find_unusable(value, torch.empty(0, dtype=value.dtype)) is not None:
            return f'optimizer.state.{name}: expected a dense tensor, found {value.layout}'
        if count_non_finite(value):
            return f'optimizer.state.{name}: expected finite numbers, found NaN or infinity'
    return None


def _tensors(state: Mapping[Any, Dict[str, Any]]) -> Iterator[Tuple[str, Tensor]]:
    for number, entries in state.items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                yield f'{number}.{key}', value
