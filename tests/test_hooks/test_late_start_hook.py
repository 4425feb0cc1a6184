"""Two stages: what waits takes no step, and then trains; parts that do not train are refused."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmseg_ssprompt.hooks import LateStartHook


def make_runner():
    """A head of three parts, one of which is frozen, and an optimiser for all of them."""
    head = nn.Module()
    head.early, head.late, head.frozen = (nn.Linear(2, 2) for _ in range(3))
    head.frozen.requires_grad_(False)
    head.late.bias.requires_grad_(False)
    model = nn.Module()
    model.decode_head = head
    parameters = [p for p in model.parameters() if p.requires_grad]
    return SimpleNamespace(model=model, iter=0), torch.optim.AdamW(parameters, lr=0.1)


def take_step(runner, optimizer, hook):
    hook.before_train_iter(runner, batch_idx=0)
    head = runner.model.decode_head
    optimizer.zero_grad()
    sum(part(torch.ones(1, 2)).sum() for part in (head.early, head.late, head.frozen)).backward()
    optimizer.step()
    runner.iter += 1


@pytest.mark.parametrize('resumed_at', [0, 1, 2, 3])
def test_what_waits_takes_no_step_until_its_turn(resumed_at):
    runner, optimizer = make_runner()
    runner.iter = resumed_at
    head, hook = runner.model.decode_head, LateStartHook(['late'], begin=2)
    hook.before_train(runner)
    for _ in range(4):
        early, late = head.early.weight.clone(), head.late.weight.clone()
        waits = runner.iter < 2
        take_step(runner, optimizer, hook)
        assert not torch.equal(head.early.weight, early)
        assert torch.equal(head.late.weight, late) == waits
    hook.after_train(runner)
    assert head.late.weight.requires_grad
    assert not head.late.bias.requires_grad  # frozen before, frozen still
    assert not head.frozen.weight.requires_grad


@pytest.mark.parametrize('part', ['frozen', 'nowhere'])
def test_a_part_that_does_not_train(part):
    with pytest.raises(ValueError, match=rf"some of \['early', 'late'\], found '{part}'"):
        LateStartHook([part], begin=2).before_train(make_runner()[0])


@pytest.mark.parametrize('parts', ['spatial_prompts', [], None])
def test_parts_that_are_none(parts):
    with pytest.raises(ValueError, match='LateStartHook: expected parts such as'):
        LateStartHook(parts, begin=2)


@pytest.mark.parametrize('begin', [0, -1, 1.5, True, '2'])
def test_a_beginning_that_there_is_not(begin):
    with pytest.raises(ValueError, match='LateStartHook: begin must be a positive integer'):
        LateStartHook(['late'], begin=begin)
