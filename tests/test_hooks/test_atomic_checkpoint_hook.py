"""At every moment there is a complete checkpoint, and training goes on from the newest."""

import errno
import os
import re
import signal
import socket
from pathlib import Path

import pytest
import torch

from ended_process import ended_process
from mmseg_ssprompt.hooks import AtomicCheckpointHook, find_newest_checkpoint, list_checkpoints
from mmseg_ssprompt.hooks.atomic_checkpoint_hook import AtomicLocalBackend
from mmseg_ssprompt.hooks.newest_checkpoint import find_state_problem
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from toy_training import StopAt, Stops, build_toy, log_of


def names(folder: Path) -> list:
    return sorted(path.name for path in folder.glob('*.pth*'))


def temporary_name(name: str, pid: int) -> str:
    return f'{name}.{socket.gethostname()}.{pid}.{"0" * 32}.tmp'


@pytest.fixture
def half_done(tmp_path):
    """Checkpoints after two and four iterations."""
    checkpoint = dict(type='AtomicCheckpointHook', by_epoch=False, interval=2)
    settings = dict(default_hooks=dict(checkpoint=checkpoint))
    with pytest.raises(Stops):
        build_toy(tmp_path, StopAt(5), **settings).train()
    assert names(tmp_path) == ['iter_2.pth', 'iter_4.pth']
    return tmp_path, settings


def resume(folder: Path, settings: dict, *hooks):
    runner = build_toy(folder, *hooks, resume=True, **settings)
    runner.train()
    return runner


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    """And the outdated one is only removed when the new one is there."""

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(Stops):
        build_toy(tmp_path, StopAt(3)).train()
    before = (tmp_path / 'iter_2.pth').read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', fail)
        with pytest.raises(OSError) as caught:
            build_toy(tmp_path, resume=True).train()
    assert caught.value.errno == errno.ENOSPC
    text = str(caught.value)
    assert repr(str(tmp_path / 'iter_4.pth')) in text
    figures = r': [\d,]+ bytes are needed, [\d,]+ are free'
    assert re.search(rf'{figures} \(No space left on device\)\. What was saved', text)
    assert text.endswith('or let work_dir be where there is some, and resume')
    assert (tmp_path / 'iter_2.pth').read_bytes() == before
    assert names(tmp_path) == ['iter_2.pth']
    assert build_toy(tmp_path, resume=True).train() is not None
    assert names(tmp_path) == ['iter_8.pth']


def test_the_outdated_checkpoint_goes_when_the_new_one_is_complete(tmp_path, monkeypatch):
    seen = []
    put = AtomicLocalBackend.put

    def look(self, obj, filepath):
        seen.append(names(tmp_path))
        put(self, obj, filepath)
        seen.append(names(tmp_path))

    monkeypatch.setattr(AtomicLocalBackend, 'put', look)
    build_toy(tmp_path).train()
    assert seen == [
        [],
        ['iter_2.pth'],
        ['iter_2.pth'],
        ['iter_2.pth', 'iter_4.pth'],
        ['iter_4.pth'],
        ['iter_4.pth', 'iter_6.pth'],
        ['iter_6.pth'],
        ['iter_6.pth', 'iter_8.pth'],
    ]
    assert names(tmp_path) == ['iter_8.pth']


def test_the_best_checkpoint_goes_when_the_new_one_is_complete(tmp_path, monkeypatch):
    best = dict(
        type='AtomicCheckpointHook',
        by_epoch=False,
        interval=2,
        max_keep_ckpts=1,
        save_best='weight',
        rule='greater',
    )
    missing = []
    put = AtomicLocalBackend.put

    def look(self, obj, filepath):
        before = [name for name in names(tmp_path) if name.startswith('best')]
        missing.append(bool(seen_best) and not before)
        put(self, obj, filepath)
        seen_best.extend(name for name in names(tmp_path) if name.startswith('best'))

    seen_best: list = []
    monkeypatch.setattr(AtomicLocalBackend, 'put', look)
    build_toy(tmp_path, default_hooks=dict(checkpoint=best)).train()
    assert len(set(seen_best)) > 1
    assert not any(missing)
    assert len([name for name in names(tmp_path) if name.startswith('best')]) == 1
    assert [name for name in names(tmp_path) if name.startswith('iter')] == ['iter_8.pth']


def test_a_kill_at_any_byte_leaves_the_file_that_was_there(tmp_path):
    """A child writes a part of the bytes, and is killed in the midst of it."""
    file = tmp_path / 'iter_2.pth'
    torch.save(dict(x=torch.arange(3)), file)
    before = file.read_bytes()
    content = os.urandom(4096)
    for cut in range(0, len(content) + 1, 192):
        child = os.fork()
        if child == 0:
            _write_part(file, content, cut)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert file.read_bytes() == before
    assert len(list(tmp_path.glob('*.tmp'))) == 22


def _write_part(file: Path, content: bytes, cut: int) -> None:
    fsync = os.fsync

    def die(handle: int) -> None:
        os.ftruncate(handle, cut)
        fsync(handle)
        os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = die
    try:
        AtomicLocalBackend().put(content, file)
    finally:
        os._exit(0)


def test_what_an_interrupted_writing_left_is_removed(half_done):
    folder, settings = half_done
    ended, running = (temporary_name('iter_6.pth', pid) for pid in (ended_process(), os.getpid()))
    for name in (ended, running):
        (folder / name).write_bytes(b'half')
    resume(folder, settings)
    found = sorted(path.name for path in folder.glob('*.pth'))
    assert found == [f'iter_{n}.pth' for n in (2, 4, 6, 8)]
    assert [path.name for path in folder.glob('*.tmp')] == [running]


@pytest.mark.parametrize('size', [0, 1, 0.5, -1])
def test_a_truncated_checkpoint_is_skipped(half_done, size):
    folder, settings = half_done
    file = folder / 'iter_4.pth'
    content = file.read_bytes()
    size = int(size * len(content)) if size == 0.5 else size % len(content)
    file.write_bytes(content[:size])
    whole = build_toy(folder / 'whole', **settings)
    whole.train()
    runner = resume(folder, settings)
    log = log_of(folder)
    assert f'Skipped {str(file)!r}' in log
    assert f'({size} bytes)' in log
    assert 'resumed epoch: 0, iter: 2' in log
    assert torch.equal(runner.model.weight, whole.model.weight)


def test_a_flipped_bit_is_found(half_done):
    folder, settings = half_done
    file = folder / 'iter_4.pth'
    content = bytearray(file.read_bytes())
    weight = torch.load(file, weights_only=True)['state_dict']['weight'].numpy().tobytes()
    assert content.count(weight) == 1
    content[content.index(weight) + 3] ^= 4
    file.write_bytes(content)
    resume(folder, settings)
    assert f'WARNING - Skipped {str(file)!r}' in log_of(folder)
    assert 'resumed epoch: 0, iter: 2' in log_of(folder)


@pytest.mark.parametrize('content', ['', 'nowhere/iter_4.pth'])
def test_last_checkpoint_is_not_believed(half_done, content):
    folder, settings = half_done
    (folder / 'last_checkpoint').write_text(content)
    resume(folder, settings)
    assert 'resumed epoch: 0, iter: 4' in log_of(folder)


def test_weights_alone_are_skipped(half_done):
    folder, settings = half_done
    torch.save(dict(state_dict={}), folder / 'iter_6.pth')
    resume(folder, settings)
    missing = ['message_hub', 'optimizer', 'param_schedulers']
    assert f'{missing} are missing' in log_of(folder)
    assert 'resumed epoch: 0, iter: 4' in log_of(folder)


def test_without_a_complete_checkpoint_it_does_not_begin_anew(half_done):
    folder, settings = half_done
    for file in folder.glob('*.pth'):
        file.write_bytes(b'')
    expected = (
        rf"'{re.escape(str(folder))}': expected .* found 2 that are not, .*iter_4.*Train without"
    )
    with pytest.raises(CheckpointError, match=expected):
        resume(folder, settings)
    assert names(folder) == ['iter_2.pth', 'iter_4.pth']


def test_without_any_checkpoint_it_begins(tmp_path):
    runner = resume(tmp_path, {})
    assert runner.iter == 8
    assert 'has no checkpoint: starting from scratch' in log_of(tmp_path)


def test_a_named_checkpoint_is_resumed(half_done):
    folder, settings = half_done
    runner = build_toy(folder, resume=True, load_from=str(folder / 'iter_2.pth'), **settings)
    runner.train()
    assert 'resumed epoch: 0, iter: 2' in log_of(folder)


def test_prompts_alone_are_not_resumed(half_done):
    folder, settings = half_done
    torch.save(dict(state_dict={}, meta={}), folder / 'prompts.pth')
    with pytest.raises(CheckpointError, match=r"prompts\.pth': expected .* are missing.*load_from"):
        build_toy(folder, resume=True, load_from=str(folder / 'prompts.pth'), **settings).train()


def test_a_named_checkpoint_without_schedules_is_not_resumed(half_done):
    folder, settings = half_done
    checkpoint = torch.load(folder / 'iter_2.pth', weights_only=True)
    del checkpoint['param_schedulers']
    torch.save(checkpoint, folder / 'named.pth')
    with pytest.raises(CheckpointError, match=r"named\.pth': expected .*'param_schedulers'\] are"):
        build_toy(folder, resume=True, load_from=str(folder / 'named.pth'), **settings).train()


def test_a_training_begins_with_prompts_alone(half_done):
    folder, settings = half_done
    weight = torch.full((1,), 3.0, dtype=torch.float64)
    torch.save(dict(state_dict=dict(weight=weight), meta={}), folder / 'prompts.pth')
    build_toy(folder / 'new', load_from=str(folder / 'prompts.pth'), **settings).train()
    log = log_of(folder / 'new')
    assert 'Load checkpoint from' in log
    assert 'resumed' not in log


def change(file: Path, **entries) -> Path:
    """Replace entries of a checkpoint by their paths; None removes one."""
    content = torch.load(file, weights_only=True)
    for path, value in entries.items():
        *parents, last = (int(key) if key.isdigit() else key for key in path.split('__'))
        inner = content
        for key in parents:
            inner = inner[key]
        inner[last] = value
        if value is None:
            del inner[last]
    torch.save(content, file)
    return file


@pytest.mark.parametrize('key', ['optimizer', 'param_schedulers'])
def test_a_checkpoint_without_state_is_skipped(half_done, key):
    folder, settings = half_done
    change(folder / 'iter_4.pth', **{key: None})
    resume(folder, settings)
    log = log_of(folder)
    assert f"['{key}'] are missing (CheckpointHook saves them unless save_optimizer" in log
    assert 'resumed epoch: 0, iter: 2' in log


def test_a_training_without_schedulers_is_resumed(tmp_path):
    for stop in (StopAt(5), StopAt(7)):
        runner = build_toy(tmp_path, stop, resume=True)
        runner.param_schedulers = None
        with pytest.raises(Stops):
            runner.train()
    assert 'resumed epoch: 0, iter: 4' in log_of(tmp_path)


@pytest.mark.parametrize(
    ('path', 'value', 'expected'),
    [
        ('meta', [1], r'meta: expected a dict, found \[1\]'),
        ('message_hub', [1], r'message_hub: expected a dict or None, found \[1\]'),
        ('state_dict', [1], 'state_dict: expected a state dict'),
        ('state_dict', {3: torch.ones(1)}, 'state_dict: expected a state dict'),
    ],
)
def test_state_of_another_kind_is_skipped(half_done, path, value, expected):
    folder, settings = half_done
    file = change(folder / 'iter_4.pth', **{path: value})
    resume(folder, settings)
    log = log_of(folder)
    assert re.search(rf'Skipped {re.escape(repr(str(file)))}: .*{expected}', log)
    assert 'resumed epoch: 0, iter: 2' in log


def test_the_average_of_another_training_is_refused(half_done):
    folder, settings = half_done
    change(folder / 'iter_4.pth', ema_state_dict={})
    message = (
        r"cannot resume from '.*iter_4\.pth': expected no moving average, .*give it as load_from"
    )
    with pytest.raises(CheckpointError, match=message):
        resume(folder, settings)


def test_a_folder_with_the_name_of_a_checkpoint_is_skipped(half_done):
    folder, settings = half_done
    (folder / 'iter_6.pth').mkdir()
    (folder / 'iter_6.pth' / 'mine.txt').touch()
    expected = r"cannot write '.*iter_6\.pth': expected a file or nothing there, found a folder"
    with pytest.raises(IsADirectoryError, match=expected) as info:
        resume(folder, settings)
    assert info.value.errno == errno.EISDIR
    log = log_of(folder)
    assert f'folder {str(folder / "iter_6.pth")!r}: expected one that' in log
    assert 'resumed epoch: 0, iter: 4' in log
    assert (folder / 'iter_6.pth' / 'mine.txt').exists()


@pytest.mark.parametrize('is_folder', [False, True])
def test_what_is_elsewhere_is_not_removed(tmp_path, is_folder):
    """A checkpoint names the best one before it, which the next best one replaces."""
    best = dict(
        type='AtomicCheckpointHook', by_epoch=False, interval=2, save_best='weight', rule='greater'
    )
    settings = dict(default_hooks=dict(checkpoint=best))
    with pytest.raises(Stops):
        build_toy(tmp_path / 'run', StopAt(5), **settings).train()
    mine = tmp_path / 'mine'
    mine.mkdir() if is_folder else mine.touch()
    change(
        tmp_path / 'run' / 'iter_4.pth',
        message_hub__runtime_info__best_ckpt=str(mine),
        message_hub__runtime_info__best_score=-9.0,
    )
    resume(tmp_path / 'run', settings)
    assert mine.exists()
    assert f'{str(mine)!r} is ' in log_of(tmp_path / 'run')
    assert 'best_weight_iter_8.pth' in names(tmp_path / 'run')


def test_a_program_in_a_checkpoint_is_not_run(half_done):
    folder, settings = half_done
    marker = folder / 'marker'
    program = f'import pathlib\npathlib.Path({str(marker)!r}).touch()'
    change(folder / 'iter_4.pth', meta__config=program)
    resume(folder, settings)
    assert 'resumed epoch: 0, iter: 4' in log_of(folder)
    assert not marker.exists()


def test_checkpoints_of_another_name(tmp_path):
    hook = dict(
        type='AtomicCheckpointHook', by_epoch=False, interval=2, filename_tmpl='step-{}.pth'
    )
    settings = dict(default_hooks=dict(checkpoint=hook))
    with pytest.raises(Stops):
        build_toy(tmp_path, StopAt(5), **settings).train()
    resume(tmp_path, settings)
    assert 'resumed epoch: 0, iter: 4' in log_of(tmp_path)
    assert {'step-2.pth', 'step-8.pth'} <= set(names(tmp_path))


def test_another_folder_for_checkpoints(tmp_path):
    hook = dict(
        type='AtomicCheckpointHook', by_epoch=False, interval=2, out_dir=str(tmp_path / 'out')
    )
    settings = dict(default_hooks=dict(checkpoint=hook))
    with pytest.raises(Stops):
        build_toy(tmp_path / 'work', StopAt(5), **settings).train()
    assert names(tmp_path / 'out' / 'work') == ['iter_2.pth', 'iter_4.pth']
    resume(tmp_path / 'work', settings)
    assert 'resumed epoch: 0, iter: 4' in log_of(tmp_path / 'work')


def test_a_complete_checkpoint_has_schedules_unless_none_are_expected(half_done):
    folder, _ = half_done
    newest = folder / 'iter_4.pth'
    assert find_newest_checkpoint(folder) == newest
    checkpoint = torch.load(newest, weights_only=True)
    del checkpoint['param_schedulers']
    assert "['param_schedulers'] are missing" in find_state_problem(checkpoint)
    assert find_state_problem(checkpoint, schedulers=False) is None
    torch.save(checkpoint, newest)
    assert find_newest_checkpoint(folder) == folder / 'iter_2.pth'
    assert find_newest_checkpoint(folder, schedulers=False) == newest


def test_a_backend_that_is_given_is_used():
    hook = AtomicCheckpointHook(backend_args=dict(backend='local'))
    assert hook.backend_args == dict(backend='local')
    assert AtomicCheckpointHook(out_dir='s3://bucket').backend_args is None


def test_checkpoints_are_listed_by_number(tmp_path):
    for name in ('iter_9.pth', 'iter_10.pth', 'epoch_11.pth', 'best_iter_12.pth', 'iter_x.pth'):
        (tmp_path / name).touch()
    assert [file.name for file in list_checkpoints(tmp_path)] == ['iter_10.pth', 'iter_9.pth']
    assert [f.name for f in list_checkpoints(tmp_path, 'epoch_{}.pth')] == ['epoch_11.pth']
    assert find_newest_checkpoint(tmp_path / 'nowhere') is None
