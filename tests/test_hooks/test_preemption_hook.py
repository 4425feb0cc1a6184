"""A signal leaves a checkpoint that training goes on from, and a status that says why."""

import itertools
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmseg_ssprompt.hooks import PreemptionHook, preemption_hook
from toy_training import StopAt, Stops, build_toy, log_of

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)
RUNS = itertools.count()


class Line(Dataset):
    """Six numbers."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Dict[str, Tensor]:
        return dict(inputs=torch.tensor([float(index)]))


class Slope(BaseModel):
    """A model of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: List[Tensor], mode: str = 'tensor') -> Any:
        loss = (torch.stack(inputs) * self.weight - 1).square().mean()
        return dict(loss=loss) if mode == 'loss' else [self.weight.item()]


class Weight(BaseMetric):
    """The model's weight, as validation sees it."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(data_samples[0])

    def compute_metrics(self, results: List[float]) -> Dict[str, float]:
        return dict(weight=results[0])


class At(Hook):
    """Does something in one stage, when so many iterations are complete."""

    def __init__(self, stage: str, iteration: int, action: Callable[[], Any]) -> None:
        def act(runner: Runner, *args: Any, **kwargs: Any) -> None:
            if runner.iter == iteration:
                action()

        setattr(self, stage, act)


class Validations(Hook):
    """Counts complete iterations at each validation that came to its end."""

    def __init__(self) -> None:
        self.done: List[int] = []

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        self.done.append(runner.iter)


def build(work_dir: Path, *hooks: Hook, checkpoint: Any = None, **settings: Any) -> Runner:
    """A runner of eight iterations, that validates after four and eight."""
    loader = dict(dataset=Line(), batch_size=2, num_workers=0)
    checkpoint = checkpoint or dict(type='CheckpointHook', by_epoch=False, interval=100)
    return Runner(
        model=Slope(),
        work_dir=str(work_dir),
        train_dataloader=dict(loader, sampler=dict(type='InfiniteSampler')),
        val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=8, val_interval=4),
        val_cfg=dict(type='ValLoop'),
        val_evaluator=[Weight()],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint=checkpoint),
        custom_hooks=[dict(type='PromptCheckpointHook'), dict(type='PreemptionHook'), *hooks],
        log_processor=dict(by_epoch=False),
        default_scope='mmengine',
        randomness=dict(seed=0),
        experiment_name=f'{work_dir.name}_{next(RUNS)}',  # loggers are kept by this name
        **settings,
    )


def send(number: int) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


def stop(runner: Runner) -> int:
    """Train until a signal ends it; the status."""
    with pytest.raises(SystemExit) as left:
        runner.train()
    return left.value.code


def load(path: Path) -> Dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.fixture(autouse=True)
def handlers():
    """Each test ends with the handlers that it began with."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    after = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in zip(SIGNALS, before):
        signal.signal(number, handler)
    assert after == before


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A program on the path that writes down its arguments, and then does what it is told to."""

    def install(then: str = '') -> Path:
        program, record = tmp_path / 'bin' / 'scontrol', tmp_path / 'scontrol.txt'
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho "$@" >> {record}\n{then}\n')
        program.chmod(0o755)
        monkeypatch.setenv('PATH', f'{program.parent}:/usr/bin:/bin')
        return record

    for name in ('SLURM_JOB_ID', 'SLURM_ARRAY_JOB_ID', 'SLURM_ARRAY_TASK_ID'):
        monkeypatch.delenv(name, raising=False)
    return install


def test_sigterm_saves_and_leaves(tmp_path, scontrol, monkeypatch):
    record = scontrol()
    monkeypatch.setenv('SLURM_JOB_ID', '77')
    runner = build(tmp_path, At('after_train_iter', 2, send(signal.SIGTERM)))
    assert stop(runner) == 143
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_3.pth')
    checkpoint = load(tmp_path / 'iter_3.pth')
    assert checkpoint['meta']['iter'] == 3
    assert torch.equal(checkpoint['state_dict']['weight'], runner.model.weight.data)
    assert not record.exists()


def test_it_goes_on_as_if_nothing_had_happened(tmp_path):
    whole = build(tmp_path / 'whole')
    whole.train()
    stop(build(tmp_path / 'parts', At('after_train_iter', 2, send(signal.SIGTERM))))
    parts = build(tmp_path / 'parts', resume=True)
    parts.train()
    assert parts.iter == whole.iter == 8
    assert torch.equal(parts.model.weight, whole.model.weight)


def test_sigusr1_requeues_the_job(tmp_path, scontrol, monkeypatch):
    record = scontrol()
    monkeypatch.setenv('SLURM_JOB_ID', '77')
    assert stop(build(tmp_path, At('after_train_iter', 2, send(signal.SIGUSR1)))) == 138
    assert record.read_text() == 'requeue 77\n'
    assert (tmp_path / 'iter_3.pth').is_file()


def test_sigusr1_requeues_one_task_of_an_array(tmp_path, scontrol, monkeypatch):
    record = scontrol()
    monkeypatch.setenv('SLURM_JOB_ID', '77')
    monkeypatch.setenv('SLURM_ARRAY_JOB_ID', '77')
    monkeypatch.setenv('SLURM_ARRAY_TASK_ID', '4')
    assert stop(build(tmp_path, At('after_train_iter', 2, send(signal.SIGUSR1)))) == 138
    assert record.read_text() == 'requeue 77_4\n'


def test_sigusr1_without_slurm_only_saves(tmp_path, scontrol):
    record = scontrol()
    assert stop(build(tmp_path, At('after_train_iter', 2, send(signal.SIGUSR1)))) == 138
    assert (tmp_path / 'iter_3.pth').is_file()
    assert not record.exists()


@pytest.mark.parametrize(
    ('then', 'reason'), [('echo not allowed >&2; exit 1', 'not allowed'), (None, 'scontrol')]
)
def test_a_failed_requeue_is_logged(tmp_path, scontrol, monkeypatch, then, reason):
    scontrol('' if then is None else then)
    if then is None:
        monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('SLURM_JOB_ID', '77')
    work_dir = tmp_path / 'work'
    assert stop(build(work_dir, At('after_train_iter', 2, send(signal.SIGUSR1)))) == 138
    lines = log_of(work_dir).splitlines()
    (line,) = (line for line in lines if '`scontrol requeue 77` failed (' in line)
    assert reason in line.partition('failed (')[2]


def test_more_signals_do_not_disturb_the_save(tmp_path):
    again = [
        At('before_save_checkpoint', 3, send(signal.SIGUSR1)),
        At('before_save_checkpoint', 3, send(signal.SIGTERM)),
    ]
    assert stop(build(tmp_path, At('after_train_iter', 2, send(signal.SIGUSR1)), *again)) == 138
    assert load(tmp_path / 'iter_3.pth')['meta']['iter'] == 3


def test_the_oldest_checkpoint_makes_room(tmp_path):
    keep = dict(type='CheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=1)
    stop(build(tmp_path, At('after_train_iter', 2, send(signal.SIGTERM)), checkpoint=keep))
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_3.pth']
    build(tmp_path, checkpoint=keep, resume=True).train()
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_8.pth']


def test_a_checkpoint_of_the_same_iteration_stays(tmp_path):
    keep = dict(type='CheckpointHook', by_epoch=False, interval=3, max_keep_ckpts=1)
    stop(build(tmp_path, At('after_train_iter', 2, send(signal.SIGTERM)), checkpoint=keep))
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_3.pth']
    assert load(tmp_path / 'iter_3.pth')['message_hub']['runtime_info']['keep_ckpt_ids'] == [3]


@pytest.mark.parametrize('iteration', [4, 8])
def test_a_validation_that_was_cut_short_is_done_anew(tmp_path, iteration):
    first, second, third = Validations(), Validations(), Validations()
    cut = At('after_val_iter', iteration, send(signal.SIGTERM))
    assert stop(build(tmp_path, first, cut)) == 143
    assert load(tmp_path / f'iter_{iteration}.pth')['meta']['iter'] == iteration
    assert first.done == [4][: iteration // 4 - 1]

    again = build(tmp_path, second, cut, resume=True)
    assert stop(again) == 143
    assert second.done == []

    build(tmp_path, third, resume=True).train()
    assert third.done == [4, 8][iteration // 4 - 1 :]


def test_a_complete_validation_is_not_repeated(tmp_path):
    validations = Validations()
    stop(build(tmp_path, At('after_train_iter', 4, send(signal.SIGTERM))))
    build(tmp_path, validations, resume=True).train()
    assert validations.done == [8]


def test_averaged_weights_are_saved_as_after_an_iteration(tmp_path):
    for name, stage in (('train', 'before_train_iter'), ('val', 'after_val_iter')):
        stop(build(tmp_path / name, EMAHook(), At(stage, 4, send(signal.SIGTERM))))
    # The one signal came in the validation after four iterations, the other after it.
    train, val = (load(next((tmp_path / name).glob('iter_*.pth'))) for name in ('train', 'val'))
    assert (train['meta']['iter'], val['meta']['iter']) == (5, 4)
    whole = build(tmp_path / 'whole', EMAHook())
    whole.train()
    resumed = build(tmp_path / 'val', EMAHook(), resume=True)
    resumed.train()
    assert torch.equal(resumed.model.weight, whole.model.weight)


def test_a_run_that_is_complete_ends_as_usual(tmp_path):
    build(tmp_path, At('after_val_epoch', 8, send(signal.SIGTERM))).train()
    assert (tmp_path / 'iter_8.pth').is_file()


def test_outside_the_main_thread_it_says_that_it_does_nothing(tmp_path):
    thread = threading.Thread(target=build(tmp_path).train)
    thread.start()
    thread.join()
    assert 'Preemption is not handled: training does not run in the main thread' in log_of(tmp_path)
    assert (tmp_path / 'iter_8.pth').is_file()


def test_without_checkpoints_by_iteration_it_says_that_it_does_nothing(tmp_path):
    build(tmp_path, checkpoint=dict(type='CheckpointHook')).train()
    text = 'Preemption is not handled: there is no CheckpointHook with by_epoch=False'
    assert text in log_of(tmp_path)


@pytest.fixture
def two_processes(monkeypatch):
    """A second process that has a signal: what was reduced, as one of two sees it."""
    reduced = []

    def all_reduce(value: Tensor, op: str) -> None:
        assert op == 'max'
        reduced.append(int(value))
        value.fill_(signal.SIGTERM)

    monkeypatch.setattr(preemption_hook, 'get_world_size', lambda: 2)
    monkeypatch.setattr(preemption_hook, 'all_reduce', all_reduce)
    return reduced


def test_several_processes_agree_each_interval(tmp_path, two_processes):
    hook = PreemptionHook(interval=5)
    runner = build(tmp_path)
    hook.before_train(runner)
    signal.raise_signal(signal.SIGUSR1)
    assert [step for step in range(1, 6) if hook._is_agreed(step)] == [5]
    assert two_processes == [signal.SIGUSR1]
    hook.after_train(runner)


def test_a_batch_that_not_every_process_has_is_no_place_to_agree(tmp_path, two_processes):
    hook = PreemptionHook(interval=1)
    runner = build(tmp_path)
    hook.before_train(runner)
    loader = SimpleNamespace(batch_size=2, dataset=range(7))
    run = SimpleNamespace(val_dataloader=loader)
    hook._leave = lambda *args, **kwargs: None
    for batch in range(2):  # of two samples in each process: the first process has a second batch
        hook.before_val_iter(run, batch)
    assert len(two_processes) == 1
    hook.after_train(runner)


def test_a_failed_training_gives_the_signals_back(tmp_path):
    before = [signal.getsignal(number) for number in SIGNALS]
    during = []

    class Look(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            during.append([signal.getsignal(number) for number in SIGNALS])

    with pytest.raises(Stops):
        build_toy(tmp_path, Look(), StopAt(3)).train()
    assert all(handlers != before for handlers in during)
    assert [signal.getsignal(number) for number in SIGNALS] == before
