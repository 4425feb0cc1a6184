"""Which tensors the optimiser is given, and how each of them decays."""

from typing import Dict

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmseg.registry import MODELS
from torch import nn

from mmseg_ssprompt.models.base.frozen import FrozenModule

LR, DECAY = 0.5, 0.25


class Frozen(FrozenModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.freeze()


class Model(nn.Module):
    """Frozen and trainable parts side by side, and one that is partly frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = Frozen()
        self.prompts = nn.Linear(2, 2)
        self.classifier = nn.Sequential(Frozen(), nn.Linear(2, 2), nn.LayerNorm(2))
        self.partly = nn.Linear(2, 2)
        self.partly.weight.requires_grad_(False)


TRAINABLE = {
    'prompts.weight',
    'prompts.bias',
    'classifier.1.weight',
    'classifier.1.bias',
    'classifier.2.weight',
    'classifier.2.bias',
    'partly.bias',
}


def groups(model: nn.Module, **kwargs) -> Dict[str, dict]:
    """The optimiser's group of each tensor that it was given, by the tensor's name."""
    settings = dict(
        type='OptimWrapper',
        constructor='PromptOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY),
    )
    wrapper = build_optim_wrapper(model, dict(settings, **kwargs))
    names = {id(p): name for name, p in model.named_parameters()}
    found: Dict[str, dict] = {}
    for group in wrapper.optimizer.param_groups:
        for parameter in group['params']:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = group
    return found


def decays(model: nn.Module, **paramwise) -> Dict[str, float]:
    found = groups(model, paramwise_cfg=paramwise)
    return {name: group['weight_decay'] / DECAY for name, group in found.items()}


@pytest.mark.parametrize('paramwise', [None, {}, dict(bias_decay_mult=1.0)])
def test_only_trainable_tensors(paramwise):
    assert groups(Model(), paramwise_cfg=paramwise).keys() == TRAINABLE


@pytest.mark.parametrize('wrapped', [False, True])
def test_wrapped_models(wrapped):
    model = Model()
    paramwise = dict(custom_keys={'prompts': dict(decay_mult=0.5)})
    settings = dict(
        constructor='PromptOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY),
        paramwise_cfg=paramwise,
    )
    wrapper = build_optim_wrapper(nn.DataParallel(model) if wrapped else model, settings)
    assert sum(len(group['params']) for group in wrapper.optimizer.param_groups) == len(TRAINABLE)


def test_decay_multipliers():
    found = decays(
        Model(),
        bias_decay_mult=0.5,
        norm_decay_mult=0.0,
        flat_decay_mult=0.25,
        custom_keys={'prompts': dict(decay_mult=2.0)},
    )
    assert found == {
        'prompts.weight': 2.0,
        'prompts.bias': 2.0,
        'classifier.1.weight': 1.0,
        'classifier.1.bias': 0.5,
        'classifier.2.weight': 0.0,
        'classifier.2.bias': 0.0,
        'partly.bias': 0.5,
    }


def test_learning_rate_multipliers():
    found = groups(Model(), paramwise_cfg=dict(custom_keys={'classifier.1': dict(lr_mult=0.1)}))
    rates = {name: group['lr'] for name, group in found.items()}
    expected = {name: LR * (0.1 if name.startswith('classifier.1') else 1) for name in TRAINABLE}
    assert rates == pytest.approx(expected)


def test_a_step_changes_nothing_frozen():
    model = Model()
    settings = dict(constructor='PromptOptimWrapperConstructor', optimizer=dict(type='SGD', lr=LR))
    wrapper = build_optim_wrapper(model, settings)
    before = {name: p.clone() for name, p in model.named_parameters()}
    wrapper.update_params(sum((p**2).sum() for p in model.parameters()) + model.partly.bias.sum())
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed >= {'prompts.weight', 'prompts.bias', 'partly.bias'}
    assert changed <= TRAINABLE


def test_frozen_modules_are_not_mentioned(log):
    """mmengine's own constructor warns of each of their tensors."""
    groups(Model(), paramwise_cfg=dict(bias_decay_mult=0.0))
    skipped = [r.getMessage() for r in log.records if 'is skipped' in r.getMessage()]
    assert skipped == ['partly.weight is skipped since its requires_grad=False']


@pytest.mark.parametrize('paramwise', [None, dict(bias_decay_mult=0.0)])
def test_a_model_that_does_not_train_is_refused(paramwise):
    with pytest.raises(ValueError, match=r"nothing in this model trains.*'default_only'"):
        groups(Model().requires_grad_(False), paramwise_cfg=paramwise)


def test_of_the_shipped_model_only_the_projection_decays(config):
    config.model.decode_head.classifier.trainable = True
    model = MODELS.build(config.model)
    found = groups(model, **config.optim_wrapper)
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    decaying = [name for name, group in found.items() if group['weight_decay'] != 0]
    assert decaying == ['decode_head.classifier.projection.weight']
    assert found[decaying[0]]['weight_decay'] == config.optim_wrapper.optimizer.weight_decay
