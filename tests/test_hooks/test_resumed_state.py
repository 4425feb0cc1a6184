"""The state of an optimiser fits the one that is to go on with it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.optim import LinearLR, OptimWrapper
from torch import nn

from mmseg_ssprompt.hooks.resumed_state import find_other_state


def build(*sizes: int) -> SimpleNamespace:
    """A runner whose optimiser has groups of so many parameters."""
    groups = [dict(params=[nn.Parameter(torch.ones(2)) for _ in range(n)]) for n in sizes]
    wrapper = OptimWrapper(torch.optim.Adam(groups))
    for group in groups:
        for parameter in group['params']:
            parameter.grad = torch.ones(2)
    wrapper.optimizer.step()
    return SimpleNamespace(optim_wrapper=wrapper, hooks=[], param_schedulers=None)


def change(state: Any, path: str, value: Any) -> Any:
    """Replace an entry by its path; ``...`` removes it."""
    *parents, last = (int(key) if key.isdigit() else key for key in path.split('.'))
    inner = state
    for key in parents:
        inner = inner[key]
    inner[last] = value
    if value is ...:
        del inner[last]
    return state


@pytest.mark.parametrize('sizes', [(1,), (2, 1), (1, 1, 1)])
def test_its_own_state_fits(sizes):
    """mmengine's wrapper shows one group more than there are where there are several."""
    runner = build(*sizes)
    checkpoint = dict(optimizer=runner.optim_wrapper.state_dict())
    assert find_other_state(checkpoint, runner) is None


def test_other_groups():
    checkpoint = dict(optimizer=build(2, 1).optim_wrapper.state_dict())
    found = find_other_state(checkpoint, build(2, 2))
    assert found.startswith('optimizer: expected groups of [2, 2] parameters, found [2, 1]')


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (torch.tensor([1.0, float('inf')]), 'expected finite numbers, found NaN or infinity'),
        (torch.ones(2).to_sparse(), 'expected a dense tensor of floating-point numbers, found '),
        (torch.ones(2).to('meta'), 'expected a dense tensor of floating-point numbers, found one'),
        (torch.ones(3), 'expected a tensor of shape (2,), found (3,)'),
        ([1.0, 1.0], 'expected a tensor of shape (2,), found [1.0, 1.0]'),
    ],
)
def test_moments_that_cannot_be_used(value, expected):
    runner = build(1)
    state = runner.optim_wrapper.state_dict()
    state['state'][0]['exp_avg'] = value
    found = find_other_state(dict(optimizer=state), runner)
    assert found.startswith(f'optimizer.state.0.exp_avg: {expected}')


@pytest.mark.parametrize(
    ('path', 'value', 'expected'),
    [
        ('state.0.exp_avg', ..., "state.0: expected ('step', 'exp_avg', 'exp_avg_sq'), but ['exp_"),
        ('state.0.exp_avg', None, "state.0: expected ('step', 'exp_avg', 'exp_avg_sq'), but"),
        ('state.0.step', -1, 'state.0.step: expected a number of steps, found -1'),
        ('state.0.step', 'x', "state.0.step: expected a number of steps, found 'x'"),
        ('param_groups.0.lr', 'x', "param_groups.0.lr: expected a value like 0.001, found 'x'"),
        ('param_groups.0.lr', float('nan'), 'param_groups.0.lr: expected a value like 0.001, f'),
        ('param_groups.0.betas', [0.9], 'param_groups.0.betas: expected a value like (0.9, 0.999'),
        ('param_groups.0.amsgrad', 1, 'param_groups.0.amsgrad: expected a value like False, foun'),
        ('param_groups.0.fused', torch.ones(2), 'param_groups.0.fused: expected a value like No'),
    ],
)
def test_entries_that_torch_would_stumble_over(path, value, expected):
    runner = build(1)
    state = change(runner.optim_wrapper.state_dict(), path, value)
    found = find_other_state(dict(optimizer=state), runner)
    assert found.startswith(f'optimizer.{expected}')


def test_an_optimiser_that_has_made_no_step_fits():
    """As where a loss scaler, or FiniteGuardHook, has left out all steps up to now."""
    runner = build(2)
    checkpoint = dict(optimizer=dict(runner.optim_wrapper.state_dict(), state={}))
    assert find_other_state(checkpoint, runner) is None


def test_an_optimiser_without_moments_fits():
    runner = build(1)
    parameters = runner.optim_wrapper.optimizer.param_groups[0]['params']
    runner.optim_wrapper = OptimWrapper(torch.optim.SGD(parameters, lr=0.1))
    runner.optim_wrapper.optimizer.step()
    checkpoint = dict(optimizer=runner.optim_wrapper.state_dict())
    assert find_other_state(checkpoint, runner) is None


@pytest.mark.parametrize(
    ('path', 'value', 'expected'),
    [
        ('0.last_step', ..., "0: expected last_step, found ['"),
        ('0.last_step', 'x', "0.last_step: expected a value like 0, found 'x'"),
        ('0.end', None, '0.end: expected a value like 6, found None'),
        ('0.param_name', 3, "0.param_name: expected a value like 'lr', found 3"),
        ('0.base_values', [], '0.base_values: expected a value like [0.001], found []'),
    ],
)
def test_entries_that_a_schedule_would_stumble_over(path, value, expected):
    runner = build(1)
    runner.param_schedulers = [LinearLR(runner.optim_wrapper.optimizer, end=6)]
    own = dict(optimizer=runner.optim_wrapper.state_dict())
    states = [dict(scheduler.state_dict()) for scheduler in runner.param_schedulers]
    assert find_other_state(dict(own, param_schedulers=states), runner) is None
    found = find_other_state(dict(own, param_schedulers=change(states, path, value)), runner)
    assert found.startswith(f'param_schedulers.{expected}')


def test_numbers_of_another_type_fit():
    """As other releases of torch count steps."""
    runner = build(1)
    for step in (0, 3, torch.tensor(3), torch.tensor(3.0)):
        state = change(runner.optim_wrapper.state_dict(), 'state.0.step', step)
        assert find_other_state(dict(optimizer=state), runner) is None


def test_settings_of_which_nothing_is_known_fit():
    runner = build(1)
    (group,) = runner.optim_wrapper.optimizer.param_groups
    group.update(betas=(), custom=dict(a=1))
    state = runner.optim_wrapper.state_dict()
    state['param_groups'][0].update(betas=(0.9, 0.999), custom='x', fused=0.5)
    assert find_other_state(dict(optimizer=state), runner) is None


def test_momentum_is_compared_and_no_step_is_asked_for():
    runner = build(1)
    (parameter,) = runner.optim_wrapper.optimizer.param_groups[0]['params']
    runner.optim_wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=0.1, momentum=0.9))
    runner.optim_wrapper.optimizer.step()
    state = runner.optim_wrapper.state_dict()
    assert find_other_state(dict(optimizer=state), runner) is None
    found = find_other_state(
        dict(optimizer=change(state, 'state.0.momentum_buffer', torch.ones(3))), runner
    )
    assert found.startswith('optimizer.state.0.momentum_buffer: expected a tensor of shape (2,)')


def test_schedules_of_one_optimiser_are_not_compared_with_those_of_several():
    """Which mmengine keeps in a dict."""
    runner = build(1)
    runner.param_schedulers = [LinearLR(runner.optim_wrapper.optimizer, end=6)]
    own = dict(optimizer=runner.optim_wrapper.state_dict())
    assert find_other_state(dict(own, param_schedulers=dict(a=[], b=[])), runner) is None
    found = find_other_state(dict(own, param_schedulers=[]), runner)
    assert found == 'param_schedulers: expected those of 1, found 0'


def test_an_average_that_nobody_goes_on_with():
    runner = build(1)
    checkpoint = dict(optimizer=runner.optim_wrapper.state_dict(), ema_state_dict={})
    found = find_other_state(checkpoint, runner)
    assert 'found ema_state_dict: the prompts in state_dict are the average then' in found
