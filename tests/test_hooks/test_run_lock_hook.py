"""One training at a time in a work_dir."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from mmseg_ssprompt import main_process
from mmseg_ssprompt.hooks import RunLockHook, WorkDirInUseError, check_unlocked
from test_end_to_end.tools import start_process
from toy_training import StopAt, Stops, build_toy, log_of

HOOK = dict(type='RunLockHook')
OWNER = """
import pathlib, sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
pathlib.Path(sys.argv[1]).with_suffix('.owner').write_text('process 7 on elsewhere\\n')
print('locked', flush=True)
time.sleep(600)
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that trains in ``tmp_path``."""
    command = [sys.executable, '-c', OWNER, str(tmp_path / 'run.lock')]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'locked\n'
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def told_to_others(monkeypatch):
    """What other processes of the same training hear of the lock."""
    told = []
    monkeypatch.setattr(main_process, 'broadcast_object_list', told.extend)
    return told


def test_a_second_training_is_refused(tmp_path, owner, told_to_others):
    with pytest.raises(WorkDirInUseError) as caught:
        build_toy(tmp_path, HOOK).train()
    text = str(caught.value)
    assert repr(str(tmp_path)) in text
    assert 'found process 7 on elsewhere' in text
    assert '--work-dir' in text
    (told,) = told_to_others
    assert told is caught.value
    assert not list(tmp_path.glob('*.pth'))


def test_it_is_refused_before_anything_is_written(tmp_path, owner):
    before = {path: path.read_bytes() for path in tmp_path.rglob('*')}
    with pytest.raises(WorkDirInUseError, match=r'found process 7 on elsewhere.*--work-dir'):
        check_unlocked(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob('*')} == before


def test_nothing_is_left_by_looking(tmp_path, monkeypatch):
    check_unlocked(tmp_path / 'nowhere')
    check_unlocked(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'run.lock').touch()
    check_unlocked(tmp_path)
    assert can_be_locked(tmp_path / 'run.lock')
    monkeypatch.setattr(filelock.FileLock, 'acquire', fail)
    check_unlocked(tmp_path)


def fail(*args):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_an_owner_that_has_not_said_its_name(tmp_path, owner):
    (tmp_path / 'run.owner').unlink()
    with pytest.raises(WorkDirInUseError, match='found a process that has not said who it is yet'):
        check_unlocked(tmp_path)


def test_the_lock_of_a_killed_process_is_none(tmp_path, owner):
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    build_toy(tmp_path, HOOK).train()
    assert (tmp_path / 'iter_8.pth').is_file()


def test_it_says_who_trains_and_ends_with_the_training(tmp_path):
    runner = build_toy(tmp_path, HOOK)
    seen = []

    class Look(RunLockHook):
        def before_run(self, runner):
            pass

        def before_train(self, runner):
            seen.append(can_be_locked(tmp_path / 'run.lock'))

    runner.register_hook(Look())
    runner.train()
    assert seen == [False]
    assert (tmp_path / 'run.owner').read_text().startswith(f'process {os.getpid()} on ')
    assert can_be_locked(tmp_path / 'run.lock')


def can_be_locked(path: Path) -> bool:
    """As another process sees it."""
    code = 'import filelock, sys; filelock.FileLock(sys.argv[1]).acquire(timeout=0)'
    command = [sys.executable, '-c', code, str(path)]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.process
def test_workers_that_outlive_a_killed_training_do_not_keep_the_lock(tmp_path):
    code = """
import os, sys, time
from types import SimpleNamespace
sys.path.insert(0, sys.argv[2])
import mmseg_ssprompt
from pathlib import Path
from mmseg_ssprompt.hooks import RunLockHook
hook = RunLockHook()
hook._take(Path(sys.argv[1]).parent, None)
if os.fork() == 0:
    time.sleep(20)
    os._exit(0)
print('forked', flush=True)
time.sleep(600)
"""
    (tmp_path / 'train.py').write_text(code)
    log = tmp_path / 'log.txt'
    with open(log, 'w') as out:
        command = [sys.executable, 'train.py', tmp_path / 'run.lock', Path.cwd()]
        process = start_process(command, cwd=tmp_path, env=os.environ, stdout=out)
    while 'forked\n' not in log.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    assert not can_be_locked(tmp_path / 'run.lock')
    process.kill()
    process.wait()
    assert can_be_locked(tmp_path / 'run.lock')


@pytest.mark.parametrize('error', [OSError, NotImplementedError])
def test_a_file_system_without_locks(tmp_path, monkeypatch, error):
    def fail(*args):
        raise error('No locks available')

    monkeypatch.setattr(filelock.FileLock, 'acquire', fail)
    build_toy(tmp_path, HOOK).train()
    assert "run.lock' cannot be locked (No locks available)" in log_of(tmp_path)
    assert (tmp_path / 'iter_8.pth').is_file()


def test_the_same_process_may_try_again(tmp_path):
    """As in a notebook, where a training has ended with an error."""
    with pytest.raises(Stops):
        build_toy(tmp_path, HOOK, StopAt(5)).train()
    build_toy(tmp_path, HOOK, resume=True).train()
    assert (tmp_path / 'iter_8.pth').is_file()


def test_a_file_that_cannot_be_opened_is_told_to_the_others(tmp_path, told_to_others):
    (tmp_path / 'run.lock').mkdir()
    with pytest.raises(OSError, match='run.lock'):
        build_toy(tmp_path, HOOK).train()
    assert isinstance(told_to_others[0], OSError)


def test_testing_takes_no_lock(tmp_path, owner):
    runner = build_toy(tmp_path, HOOK)
    started = time.monotonic()
    runner.val()
    assert time.monotonic() - started < 60
