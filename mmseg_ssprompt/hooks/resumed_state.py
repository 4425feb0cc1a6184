"""Whether the state in a checkpoint is that of the training that is to go on from it."""

import math
from typing import Any, Mapping, Optional

import torch
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from ..plain import shorten
from ..weights.tensor_checks import count_non_finite, find_unusable

__all__ = ['find_other_state']

#: What optimisers keep in the shape of each parameter, and what Adam does not go on without.
_MOMENTS = ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer')
_OF_ADAM = ('step', 'exp_avg', 'exp_avg_sq')
#: Without it a schedule would begin anew.
_OF_SCHEDULER = 'last_step'


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
    # Several optimisers, and their schedulers, are in dicts, which is not looked into.
    schedulers, states = runner.param_schedulers, checkpoint.get('param_schedulers')
    if isinstance(schedulers, list) and isinstance(states, list):
        problem = _find_other_schedulers(states, [own.state_dict() for own in schedulers])
        if problem is not None:
            return problem
    if isinstance(runner.optim_wrapper, OptimWrapper):
        return _find_other_optimizer(checkpoint['optimizer'], runner.optim_wrapper.optimizer)
    return None


def _find_other_schedulers(found: list, own: list) -> Optional[str]:
    if len(found) != len(own):
        return f'param_schedulers: expected those of {len(own)}, found {len(found)}'
    for number, state in enumerate(found):
        where = f'param_schedulers.{number}'
        if _OF_SCHEDULER not in state:
            return f'{where}: expected {_OF_SCHEDULER}, found {shorten(sorted(map(str, state)))}'
        problem = _find_unlike(state, own[number], where)
        if problem is not None:
            return problem
    return None


def _find_other_optimizer(
    state: Mapping[str, Any], optimizer: torch.optim.Optimizer
) -> Optional[str]:
    own, groups = optimizer.param_groups, state.get('param_groups', ())
    expected, found = ([len(group.get('params', ())) for group in x] for x in (own, groups))
    if expected != found:
        return (
            f'optimizer: expected groups of {expected} parameters, found {found}: other parts of '
            'the model train now'
        )
    for number, (group, like) in enumerate(zip(groups, own)):
        like = {key: value for key, value in like.items() if key != 'params'}
        problem = _find_unlike(group, like, f'optimizer.param_groups.{number}')
        if problem is not None:
            return problem
    needed = _OF_ADAM if isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)) else ()
    pairs = zip(
        (number for group in groups for number in group['params']),
        (parameter for group in own for parameter in group['params']),
    )
    for number, parameter in pairs:
        entries = state['state'].get(number)  # none before the first step that is not left out
        missing = [key for key in needed if entries is not None and entries.get(key) is None]
        if missing:
            return f'optimizer.state.{number}: expected {needed}, but {missing} are missing'
        for key, value in (entries or {}).items():
            problem = _find_other_entry(key, value, parameter)
            if problem is not None:
                return f'optimizer.state.{number}.{key}: {problem}'
    return None


def _find_other_entry(key: str, value: Any, parameter: Tensor) -> Optional[str]:
    """Compare what an optimiser keeps of a parameter with the parameter."""
    if isinstance(value, Tensor):
        flaw = find_unusable(value, torch.empty(0, dtype=value.dtype))
        if flaw is not None:
            return flaw
        if count_non_finite(value):
            return 'expected finite numbers, found NaN or infinity'
    if key in _MOMENTS and value is not None:  # as of SGD without momentum
        shape = tuple(value.shape) if isinstance(value, Tensor) else shorten(value)
        if shape != tuple(parameter.shape):
            return f'expected a tensor of shape {tuple(parameter.shape)}, found {shape}'
    if key == 'step' and not (_is_number(value) and value >= 0):
        return f'expected a number of steps, found {shorten(value)}'
    return None


def _find_unlike(found: Mapping[str, Any], own: Mapping[str, Any], where: str) -> Optional[str]:
    """Compare the kinds of the settings in a state with those that are there now."""
    for key, like in own.items():
        if key in found and not _is_like(found[key], like):
            values = ', found '.join(map(shorten, (like, found[key])))
            return f'{where}.{key}: expected a value like {values}'
    return None


def _is_like(value: Any, like: Any) -> bool:
    if isinstance(like, (bool, type(None))):  # None: what torch decides itself
        return value is None or isinstance(value, bool) or (like is None and _is_number(value))
    if isinstance(like, (int, float, Tensor)):
        return _is_number(value)
    if isinstance(like, str):
        return isinstance(value, str)
    if isinstance(like, (list, tuple)) and len(like) > 0:
        fits = isinstance(value, (list, tuple)) and len(value) == len(like)
        return fits and all(map(_is_like, value, like))
    return True


def _is_number(value: Any) -> bool:
    """Whether it is a finite number, in a tensor or not."""
    if isinstance(value, Tensor):
        return find_unusable(value, torch.empty(0, dtype=value.dtype)) is None and (
            value.numel() == 1 and math.isfinite(value.item())
        )
    return isinstance(value, (int, float)) and math.isfinite(value)
