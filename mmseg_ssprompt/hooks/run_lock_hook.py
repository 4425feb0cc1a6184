"""One training at a time in a work_dir."""

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Optional

from filelock import BaseFileLock
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from ..files import check_no_folder, take_lock
from ..main_process import on_main_process

__all__ = ['RunLockHook', 'WorkDirInUseError', 'check_unlocked']

_LOCK = 'run.lock'
#: Says who has the lock: some releases of filelock empty the file that they lock.
_OWNER = 'run.owner'


class WorkDirInUseError(RuntimeError):
    """Another training writes into the same work_dir."""


@HOOKS.register_module()
class RunLockHook(Hook):
    """Refuses to train in a work_dir where another process trains.

    The lock is filelock's on ``run.lock``, and ``run.owner`` names host and process. The kernel
    gives it back when the process ends, whatever ended it, so there is no stale lock to remove.
    Where a file system has no such locks (Lustre without ``flock``), filelock keeps a file instead,
    which a machine that dies leaves behind. Where that is impossible too, the log says so, and
    training goes on.

    Raises:
        WorkDirInUseError: With host and process of the other training.
        IsADirectoryError: If ``run.lock`` is a folder.
    """

    priority = 'HIGHEST'

    def __init__(self) -> None:
        self._lock: Optional[BaseFileLock] = None

    def before_run(self, runner: Runner) -> None:
        """Take the lock, in the main process; all processes end if it is taken."""
        if isinstance(runner._train_loop, BaseLoop):  # not a runner that only tests
            on_main_process(lambda: self._take(Path(runner.work_dir), runner))

    def after_run(self, runner: Runner) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _take(self, work_dir: Path, runner: Runner) -> None:
        check_no_folder(work_dir / _LOCK)
        try:
            self._lock = _acquire(work_dir)
        except (OSError, NotImplementedError) as error:
            runner.logger.warning(
                f'{str(work_dir / _LOCK)!r} cannot be locked ({error}): nothing prevents two '
                'trainings in this work_dir'
            )
            return
        started = time.strftime('%Y-%m-%d %H:%M:%S')
        owner = f'process {os.getpid()} on {socket.gethostname()}, started {started}\n'
        with contextlib.suppress(OSError):  # a full disk
            (work_dir / _OWNER).write_text(owner, encoding='utf-8')


def check_unlocked(work_dir: Path) -> None:
    """Refuse a work_dir where another process trains, before anything is written into it.

    mmengine writes the config and a log there before any hook can refuse.

    Raises:
        WorkDirInUseError: With host and process of the other training.
    """
    if (work_dir / _LOCK).is_file():
        with contextlib.suppress(OSError, NotImplementedError):  # which _take tells
            _acquire(work_dir).release()


def _acquire(work_dir: Path) -> BaseFileLock:
    """The lock of a work_dir, taken; one process may take it again, as in a notebook."""
    lock = take_lock(work_dir / _LOCK, again=True)
    if lock is None:
        owner = 'a process that has not said who it is yet'
        with contextlib.suppress(OSError):
            owner = (work_dir / _OWNER).read_text(encoding='utf-8').strip() or owner
        raise WorkDirInUseError(
            f'work_dir {str(work_dir)!r}: expected no other training there, found {owner}. Give '
            f'another --work-dir, or end that training; if its machine has died, remove {_LOCK!r}'
        )
    return lock
