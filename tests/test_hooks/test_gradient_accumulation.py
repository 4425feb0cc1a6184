"""Accumulated gradients: a step on every second iteration, on the mean of both gradients."""

from typing import Dict, List

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import Tensor, nn

from mmseg_ssprompt.hooks import mmengine_fixes
from tiny_model import build_tiny, random_images, training_loss

COUNT = 2
LR = 0.1

pytestmark = pytest.mark.filterwarnings('ignore:.*build_loss.*:UserWarning')


def trained(model: nn.Module) -> Dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def wrap(model: nn.Module, **kwargs) -> OptimWrapper:
    settings = dict(
        type='OptimWrapper',
        constructor='PromptOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=LR),
        accumulative_counts=COUNT,
    )
    return build_optim_wrapper(model, dict(settings, **kwargs))


def run(model: nn.Module, wrapper: OptimWrapper, iterations: int) -> List[Dict[str, Tensor]]:
    """What is trained after each iteration, each with images of its own."""
    wrapper.initialize_count_status(model, 0, iterations)
    states = []
    for seed in range(iterations):
        with wrapper.optim_context(model):
            loss = training_loss(model, images=random_images(seed=seed))
        wrapper.update_params(loss)
        states.append(trained(model))
    return states


def equal(one: Dict[str, Tensor], two: Dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def mean_gradients(model: nn.Module, seeds: range) -> Dict[str, Tensor]:
    for seed in seeds:
        (training_loss(model, images=random_images(seed=seed)) / len(seeds)).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return gradients


def test_parameters_move_on_every_second_iteration_only():
    model = build_tiny().train()
    start = trained(model)
    states = run(model, wrap(model), 4)
    assert equal(states[0], start)
    assert not any(torch.equal(tensor, start[name]) for name, tensor in states[1].items())
    assert equal(states[2], states[1])
    assert not any(torch.equal(tensor, states[1][name]) for name, tensor in states[3].items())


def test_a_step_takes_the_mean_of_the_gradients():
    model = build_tiny().train()
    start, gradients = trained(model), mean_gradients(model, range(COUNT))
    found = run(model, wrap(model), COUNT)[-1]
    for name, tensor in start.items():
        torch.testing.assert_close(found[name], tensor - LR * gradients[name])


def test_iterations_that_are_left_over_make_a_step_of_their_own():
    model = build_tiny().train()
    before = run(model, wrap(model), 2)[-1]
    gradients = mean_gradients(model, range(2, 3))
    other = build_tiny().train()
    found = run(other, wrap(other), 3)[-1]
    for name, tensor in before.items():
        torch.testing.assert_close(found[name], tensor - LR * gradients[name])


@pytest.mark.parametrize(('dtype', 'tolerance'), [('float16', 0.03), ('bfloat16', 0.3)])
def test_with_mixed_precision(dtype, tolerance, monkeypatch):
    monkeypatch.setattr(mmengine_fixes, 'get_device', lambda: 'cpu')
    model = build_tiny().train()
    start, gradients = trained(model), mean_gradients(model, range(COUNT))
    states = run(model, wrap(model, type='PromptAmpOptimWrapper', dtype=dtype), COUNT)
    assert equal(states[0], start)
    for name, tensor in start.items():
        step = (tensor - states[1][name]) / LR
        assert (step - gradients[name]).norm() < tolerance * gradients[name].norm(), name
