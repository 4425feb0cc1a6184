"""Frozen modules never train, but let gradients through."""

import torch
from torch import nn

import mmseg_ssprompt  # noqa: F401
from mmseg_ssprompt.models.base.frozen import FrozenModule


class Frozen(FrozenModule):
    """The smallest frozen part that behaves differently in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.freeze()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def test_train_keeps_eval_mode_and_returns_self():
    frozen = Frozen()
    assert frozen.train() is frozen
    assert frozen.train(True) is frozen
    assert not any(module.training for module in frozen.modules())


def test_stays_in_eval_mode_inside_a_parent_that_trains():
    parent = nn.Sequential(nn.Linear(3, 3), Frozen())
    parent.train()
    assert parent[0].training
    assert not any(module.training for module in parent[1].modules())


def test_a_step_in_training_changes_nothing():
    parent = nn.Sequential(nn.Linear(3, 3), Frozen()).train()
    before = {key: value.clone() for key, value in parent[1].state_dict().items()}
    optimizer = torch.optim.SGD([p for p in parent.parameters() if p.requires_grad], lr=1.0)
    parent(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    after = parent[1].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_parameters_require_no_gradient_but_inputs_receive_one():
    frozen = Frozen()
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    x = torch.randn(2, 3, requires_grad=True)
    frozen(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_init_weights_keeps_the_weights():
    frozen = Frozen()
    before = frozen.layers[0].weight.clone()
    frozen.init_weights()
    assert torch.equal(frozen.layers[0].weight, before)
