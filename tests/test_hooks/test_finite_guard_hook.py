"""What is not finite gets neither into the prompts nor into a checkpoint."""

import copy
import json
import math
import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.structures import SegDataSample

from mmseg_ssprompt.hooks import FiniteGuardHook, NonFiniteError, finite_guard_hook
from mmseg_ssprompt.hooks.finite_guard_hook import describe_batch
from mmseg_ssprompt.models.losses.matching import NON_FINITE_LOGITS
from test_end_to_end.tools import free_port, start_process
from tiny_model import tiny_config
from toy_training import ITERATIONS, build_toy, log_of


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


class Losses(Hook):
    """The loss of each iteration."""

    def __init__(self) -> None:
        self.seen: list = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.seen.append(outputs['loss'].item())


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
    log = log_of(tmp_path)
    assert log.count('Skipped: the step was not made') == 2
    assert torch.isfinite(runner.model.weight).all()


def test_skipping_is_bounded(tmp_path):
    skip = dict(type='FiniteGuardHook', policy='skip', max_in_a_row=2)
    build(tmp_path / 'a', Spoil(1, 2, 4, 5), guard=skip)[0].train()
    runner, _ = build(tmp_path / 'b', Spoil(1, 2, 3), guard=skip)
    with pytest.raises(NonFiniteError, match=r'^iteration 4: (.|\n)*\(3 in a row\)'):
        runner.train()


def with_losses(runner: Runner, change: Callable[[dict, int], None]) -> None:
    """Change the losses of a runner's model, given the number of the iteration."""
    model, forward = runner.model, runner.model.forward

    def changed(inputs, mode='tensor'):
        losses = forward(inputs, mode)
        if mode == 'loss':
            change(losses, runner.iter)
        return losses

    model.forward = changed


@pytest.mark.parametrize('trains', [True, False])
def test_a_loss_counts_where_gradients_are_finite(tmp_path, trains):
    def spoil(losses: dict, iteration: int) -> None:
        if iteration == 3:
            losses['loss_of_nothing'] = torch.tensor(float('inf'))
            if trains:
                losses['loss_of_nothing'] = losses['loss'].detach() * 0 + float('inf')

    runner, states = build(tmp_path, guard=dict(type='FiniteGuardHook', policy='skip'))
    with_losses(runner, spoil)
    runner.train()
    unchanged = [same(a[1]['state'], b[1]['state']) for a, b in pairwise(states.seen)]
    assert unchanged == [index == 2 for index in range(ITERATIONS - 1)]
    assert same(states.seen[2][0], states.seen[3][0])
    log = log_of(tmp_path)
    assert 'iteration 4: expected finite losses and gradients, found loss = ' in log
    assert 'loss_of_nothing = inf' in log


def test_what_is_no_loss_does_not_count(tmp_path):
    def spoil(losses: dict, iteration: int) -> None:
        losses['accuracy'] = torch.tensor(float('nan'))

    runner, _ = build(tmp_path)
    with_losses(runner, spoil)
    runner.train()


def test_gradients_count_where_losses_are_finite(tmp_path):
    def spoil(losses: dict, iteration: int) -> None:
        if iteration == 3:
            losses['loss'].register_hook(lambda gradient: gradient * float('inf'))

    runner, states = build(tmp_path)
    with_losses(runner, spoil)
    with pytest.raises(NonFiniteError, match='iteration 4: .* found loss = [0-9.]+, (.|\n)*weight'):
        runner.train()
    assert same(runner.model.state_dict(), states.seen[2][0])


def test_accumulated_gradients_are_looked_at_once(tmp_path):
    """And all batches of the step are named: any of them may be the one."""
    runner, states = build(tmp_path, Spoil(2), guard=dict(type='FiniteGuardHook', policy='skip'))
    runner.optim_wrapper.setdefault('accumulative_counts', 2)
    runner.train()
    weights = [state[0] for state in states.seen]
    assert same(weights[1], weights[3])  # the spoiled batch was half of the second step
    assert not same(weights[3], weights[5])
    assert torch.isfinite(runner.model.weight).all()
    log = log_of(tmp_path)
    assert log.count('Skipped: the step was not made') == 1
    for text in ('iteration 3: expected finite', 'iteration 4: expected finite'):
        assert text in log
    assert log.count('Files of the batch') == 2


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='no loss scaler on CPUs')
@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=1.0)])
def test_a_loss_scaler_may_leave_steps_out(tmp_path, fused, clip_grad):
    def spoil(losses: dict, iteration: int) -> None:
        if iteration in (3, 4):
            losses['loss'].register_hook(lambda gradient: gradient * float('inf'))

    runner, states = build(tmp_path)
    runner.optim_wrapper = scaled(fused, clip_grad)
    with_losses(runner, spoil)
    runner.train()
    weights = [state[0] for state in states.seen]
    assert [same(a, b) for a, b in pairwise(weights)] == [i in (2, 3) for i in range(7)]
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2.0**14


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='no loss scaler on CPUs')
def test_a_loss_scaler_may_not_do_so_for_ever(tmp_path, monkeypatch):
    def spoil(losses: dict, iteration: int) -> None:
        losses['loss'].register_hook(lambda gradient: gradient * float('inf'))

    monkeypatch.setattr(finite_guard_hook, '_MAX_SCALER_SKIPS', 3)
    runner, _ = build(tmp_path)
    runner.optim_wrapper = scaled()
    with_losses(runner, spoil)
    with pytest.raises(NonFiniteError, match='iteration 4: (.|\n)*has left out 4 steps in a row'):
        runner.train()


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='no loss scaler on CPUs')
def test_a_loss_that_is_not_finite_is_not_the_loss_scalers(tmp_path):
    runner, states = build(tmp_path, Spoil(3))
    runner.optim_wrapper = scaled()
    with pytest.raises(NonFiniteError, match='iteration 4: .* found loss = nan'):
        runner.train()
    assert same(runner.model.state_dict(), states.seen[2][0])


def scaled(fused: bool = False, clip_grad: Any = None) -> dict:
    return dict(
        type='PromptAmpOptimWrapper',
        dtype='float16',
        optimizer=dict(type='AdamW', lr=0.05, fused=fused),
        clip_grad=clip_grad,
    )


def small_training(work_dir: Path, policy: str) -> Runner:
    """SSPrompt on a few images, six iterations."""
    config = tiny_config()
    config.merge_from_dict(
        {
            'train_dataloader.dataset.num_images': 4,
            'train_dataloader.batch_size': 2,
            'val_dataloader.dataset.num_images': 2,
            'train_cfg.max_iters': 6,
            'train_cfg.val_interval': 100,
            'default_hooks.checkpoint.interval': 1,
            'work_dir': str(work_dir),
            'experiment_name': work_dir.name,
        }
    )
    hooks = config.default_hooks
    for name in ('output_check', 'run_lock', 'dataset_check', 'run_record', 'preemption'):
        hooks.pop(name)
    hooks.finite_guard.policy = policy
    return Runner.from_cfg(config)


def spoil_embeddings(runner: Runner, *iterations: int) -> None:
    """As an image does whose activations overflow in float16."""

    def spoil(module: Any, inputs: Any, output: Any) -> Any:
        if runner.iter in iterations:
            output.embedding[:, 0, 0, 0] = float('inf')
        return output

    runner.model.backbone.register_forward_hook(spoil)


def test_logits_that_are_not_finite_name_the_files(tmp_path):
    runner = small_training(tmp_path, 'stop')
    spoil_embeddings(runner, 2)
    with pytest.raises(NonFiniteError) as caught:
        runner.train()
    text = str(caught.value)
    assert text.startswith('iteration 3: expected finite losses and gradients, found loss = ')
    assert 'the mask logits of images [0, 1] of the batch hold NaN or infinite values' in text
    assert re.search(r"Files of the batch: \['[^']+', '[^']+'\]", text)
    (checkpoint,) = tmp_path.glob('iter_*.pth')
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    assert checkpoint.name == 'iter_2.pth'
    for name, value in runner.model.without_frozen(runner.model.state_dict()).items():
        assert torch.equal(value, state[name]), name


def test_logits_that_are_not_finite_can_be_skipped(tmp_path):
    states = States()
    runner = small_training(tmp_path, 'skip')
    runner.register_hook(states)
    spoil_embeddings(runner, 2)
    runner.train()
    moments = [state[1]['state'] for state in states.seen]
    assert [same(a, b) for a, b in pairwise(moments)] == [index == 1 for index in range(5)]
    assert NON_FINITE_LOGITS not in runner.message_hub.runtime_info


class Attributes(Hook):
    """What each module of a model and each loss has, while it trains."""

    def before_train(self, runner: Runner) -> None:
        self.seen = self.attributes(runner)

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        now = self.attributes(runner)
        assert [key for key in {**now, **self.seen} if now.get(key) != self.seen.get(key)] == []

    @staticmethod
    def attributes(runner: Runner) -> dict:
        modules = dict(runner.model.named_modules())
        objects = {**modules, 'matcher': runner.model.decode_head.loss_decode.matcher}
        names = ('_forward_hooks', '_forward_hooks_with_kwargs', '_forward_hooks_always_called')
        return {
            (name, key): id(value)
            for name, each in objects.items()
            for key, value in vars(each).items()
            if key not in (*names, '_is_full_backward_hook')
        }


def test_no_attribute_of_a_model_is_replaced(tmp_path):
    """And torch's hooks are gone after an error."""
    runner = small_training(tmp_path, 'stop')
    runner.register_hook(Attributes(), priority='LOWEST')
    spoil_embeddings(runner, 2)
    with pytest.raises(NonFiniteError):
        runner.train()
    assert not runner.model._forward_hooks
    assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks


def test_without_the_guard_the_loss_says_it(tmp_path):
    runner = small_training(tmp_path, 'stop')
    runner._hooks = [hook for hook in runner.hooks if not isinstance(hook, FiniteGuardHook)]
    spoil_embeddings(runner, 2)
    losses = Losses()
    runner.register_hook(losses)
    with pytest.raises(ValueError, match='NaN or infinite'):  # of saving the prompts
        runner.train()
    assert [math.isfinite(loss) for loss in losses.seen] == [True, True, False]


TWO_PROCESSES = """
import sys
from pathlib import Path
import torch
from mmengine.dist import get_rank
from mmengine.model import MMDistributedDataParallel
import mmseg_ssprompt
from mmseg_ssprompt.hooks import NonFiniteError
from test_hooks.test_finite_guard_hook import build, with_losses

def spoil(losses, iteration):
    if iteration == 3 and get_rank() == 1:
        losses['loss_of_nothing'] = losses['loss'].detach() * 0 + float('inf')

torch.distributed.init_process_group('gloo')
folder = Path(sys.argv[1])
runner, states = build(folder / 'work')
with_losses(runner, spoil)
runner.model = MMDistributedDataParallel(runner.model, device_ids=None)
try:
    runner.train()
except NonFiniteError as error:
    weights = [state[0]['module.weight'].item() for state in states.seen]
    weights.append(runner.model.state_dict()['module.weight'].item())
    (folder / f'{get_rank()}.txt').write_text(f'{weights}\\n{error}')
"""


@pytest.mark.process
def test_two_processes_stop_alike(tmp_path):
    """Though the loss of one of them alone is not finite, and its gradients are."""
    shared = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port(), WORLD_SIZE='2')
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [tests, os.environ.get('PYTHONPATH')]))
    (tmp_path / 'train.py').write_text(TWO_PROCESSES)
    with open(tmp_path / 'log.txt', 'w') as log:
        processes = [
            start_process(
                [sys.executable, 'train.py', tmp_path],
                cwd=tmp_path,
                env=dict(
                    os.environ, **shared, RANK=str(rank), LOCAL_RANK=str(rank), PYTHONPATH=path
                ),
                stdout=log,
            )
            for rank in range(2)
        ]
    for process in processes:
        process.wait(120)
    texts = [(tmp_path / f'{rank}.txt').read_text().splitlines() for rank in range(2)]
    assert texts[0][0] == texts[1][0]
    weights = json.loads(texts[0][0])
    assert len(weights) == 4 and weights[2] == weights[3]
    assert texts[0][1].startswith('iteration 4: ') and texts[1][1].startswith('iteration 4: ')
    assert 'loss_of_nothing = inf' in texts[1][1]
    assert 'Another process has a loss that is not finite' in texts[0]
    assert [path.name for path in (tmp_path / 'work').glob('*.pth')] == ['iter_2.pth']


def test_the_files_of_a_batch():
    samples = [SegDataSample(metainfo=dict(img_path=f'{name}.png')) for name in 'ab']
    text = describe_batch(dict(inputs=[], data_samples=samples))
    assert text == "Files of the batch: ['a.png', 'b.png']"
    assert describe_batch(None) == 'Files of the batch: []'


@pytest.mark.parametrize('options', [dict(policy='ignore'), dict(max_in_a_row=0)])
def test_other_arguments_are_refused(options):
    with pytest.raises(ValueError, match=f'{next(iter(options))} must be'):
        FiniteGuardHook(**options)
