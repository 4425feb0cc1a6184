"""The report by hand."""

from types import SimpleNamespace
from typing import List

import pytest
import torch
from mmengine.registry import HOOKS
from torch import nn

from mmseg_ssprompt.hooks.trainable_report_hook import describe_trainable

EXPECTED = """\
Trainable: 1,224 parameters in 3 tensors; frozen: 66
  scale: ()
  wide.weight: (40, 30)
  partly.bias: (23,)"""


class Model(nn.Module):
    """Some of everything: a scalar, a frozen layer, one that is partly frozen, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.wide = nn.Linear(30, 40, bias=False)
        self.frozen = nn.Linear(19, 1).requires_grad_(False)
        self.partly = nn.Linear(2, 23)
        self.partly.weight.requires_grad_(False)
        self.register_buffer('default', torch.zeros(1000))


def report(model: nn.Module) -> List[str]:
    """What the hook logs at the start of training."""
    logged: List[str] = []
    runner = SimpleNamespace(model=model, logger=SimpleNamespace(info=logged.append))
    HOOKS.build(dict(type='TrainableReportHook')).before_train(runner)
    return logged


def test_by_hand():
    assert describe_trainable(Model()) == EXPECTED


@pytest.mark.parametrize('wrapped', [False, True])
def test_is_logged_once(wrapped):
    model = Model()
    assert report(nn.DataParallel(model) if wrapped else model) == [EXPECTED]


def test_nothing_trains():
    model = nn.Linear(2, 3).requires_grad_(False)
    assert describe_trainable(model) == 'Trainable: 0 parameters in 0 tensors; frozen: 9'


def test_shared_tensors_count_once():
    layer = nn.Linear(2, 3)
    assert describe_trainable(nn.Sequential(layer, layer)).startswith('Trainable: 9 parameters')


def test_the_shipped_model(model):
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    learned = 64 * 2 * 96 + 64 + 10 * 64 + 10
    assert describe_trainable(model).splitlines() == [
        f'Trainable: {learned:,} parameters in 4 tensors; frozen: {frozen:,}',
        '  decode_head.spatial_prompts.fusion.learned: (64, 2, 96)',
        '  decode_head.spatial_prompts.fusion.weight_logit: (64,)',
        '  decode_head.semantic_prompts.fusion.learned: (10, 64)',
        '  decode_head.semantic_prompts.fusion.weight_logit: (10,)',
    ]
