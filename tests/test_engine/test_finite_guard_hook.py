"""What is not finite gets neither into the prompts nor into a checkpoint."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from mmseg_ssprompt.engine import FiniteGuardHook, NonFiniteError
from mmseg_ssprompt.engine.finite_guard_hook import describe_batch
from mmseg_ssprompt.models.losses.matching import NonFiniteLogitsError
from toy_training import ITERATIONS, build_toy


class Spoil(Hook):
    """Makes the inputs of some iterations what they should not be."""

    def __init__(self, *iterations: int, value: float = float('nan')) -> None:
        self.iterations, self.value = iterations, value

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if batch_idx in self.iterations:
            data_batch['inputs'][0].fill_(self.value)


class States(Hook):
    """Weights and moments after each iteration."""

    def __init__(self) -> None:
        self.seen: list = []

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        optimizer = runner.optim_wrapper.optimizer
        self.seen.append(copy.deepcopy((runner.model.state_dict(), optimizer.state_dict())))


def build(work_dir, *hooks, guard=None, **settings):
    guard = guard or dict(type='FiniteGuardHook')
    states = States()
    runner = build_toy(work_dir, *hooks, guard, states, **settings)
    return runner, states


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_training_stops_before_the_step(tmp_path, value):
    runner, states = build(tmp_path, Spoil(3, value=value))
    with pytest.raises(NonFiniteError) as caught:
        runner.train()
    text = str(caught.value)
    assert text.startswith('iteration 4: expected finite losses and gradients, found loss = ')
    assert 'Gradients with NaN or infinity: weight' in text
    assert "policy='skip'" in text
    assert same(runner.model.state_dict(), states.seen[2][0])
    moments = runner.optim_wrapper.optimizer.state_dict()['state']
    assert same(moments, states.seen[2][1]['state'])
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_2.pth']


def test_skipping_makes_no_step(tmp_path):
    skip = dict(type='FiniteGuardHook', policy='skip')
    runner, states = build(tmp_path, Spoil(3, 4), guard=skip)
    runner.train()
    assert len(states.seen) == ITERATIONS
    for index in range(1, ITERATIONS):
        assert same(states.seen[index][0], states.seen[index - 1][0]) == (index in (3, 4))
        # The learning rate, which is part of the state, changes in each iteration.
        before, now = (state[1]['state'] for state in states.seen[index - 1 : index + 1])
        assert same(before, now) == (index in (3, 4))
    log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert log.count('Skipped: the step was not made') == 2
    assert torch.isfinite(runner.model.weight).all()


def test_skipping_is_bounded(tmp_path):
    skip = dict(type='FiniteGuardHook', policy='skip', max_in_a_row=2)
    build(tmp_path / 'a', Spoil(1, 2, 4, 5), guard=skip)[0].train()
    runner, _ = build(tmp_path / 'b', Spoil(1, 2, 3), guard=skip)
    with pytest.raises(NonFiniteError, match=r'^iteration 4: (.|\n)*\(3 in a row\)'):
        runner.train()


def test_a_loss_counts_where_gradients_are_finite(tmp_path):
    runner, _ = build(tmp_path)
    forward = type(runner.model).forward

    def spoiled(inputs, mode='tensor'):
        losses = forward(runner.model, inputs, mode)
        if mode == 'loss':
            losses['loss_of_nothing'] = torch.tensor(float('inf'))
        return losses

    runner.model.forward = spoiled
    with pytest.raises(NonFiniteError, match='loss_of_nothing = inf'):
        runner.train()


def test_accumulated_gradients_are_looked_at_once(tmp_path):
    settings = dict(accumulative_counts=2)
    runner, states = build(tmp_path, Spoil(2), guard=dict(type='FiniteGuardHook', policy='skip'))
    runner.optim_wrapper.setdefault('accumulative_counts', settings['accumulative_counts'])
    runner.train()
    weights = [state[0] for state in states.seen]
    assert same(weights[1], weights[3])  # the spoiled batch was half of the second step
    assert not same(weights[3], weights[5])
    assert torch.isfinite(runner.model.weight).all()


def test_a_loss_scaler_may_skip_but_not_for_ever():
    hook = FiniteGuardHook()
    wrapper = SimpleNamespace(_accumulative_counts=1)
    runner = SimpleNamespace(iter=0, optim_wrapper=wrapper)
    for _ in range(32):
        hook.after_train_iter(runner, 0, None, dict(loss=1.0))
    with pytest.raises(NonFiniteError, match='has made no step in 33 iterations'):
        hook.after_train_iter(runner, 0, None, dict(loss=1.0))


def test_logits_that_are_not_finite_name_the_files(tmp_path):
    runner, _ = build(tmp_path)

    def fail(inputs, mode='tensor'):
        raise NonFiniteLogitsError('the mask logits of images [0] hold NaN')

    runner.model.forward = fail
    with pytest.raises(NonFiniteError, match=r'iteration 1: the mask logits(.|\n)*Files of the'):
        runner.train()


def test_the_files_of_a_batch():
    samples = [SegDataSample(metainfo=dict(img_path=f'{name}.png')) for name in 'ab']
    text = describe_batch(dict(inputs=[], data_samples=samples))
    assert text == "Files of the batch: ['a.png', 'b.png']"
    assert describe_batch(None) == 'Files of the batch: []'


@pytest.mark.parametrize('options', [dict(policy='ignore'), dict(max_in_a_row=0)])
def test_other_arguments_are_refused(options):
    with pytest.raises(ValueError, match=f'{next(iter(options))} must be'):
        FiniteGuardHook(**options)
