"""One training at a time in a work_dir."""

import contextlib
import errno
import os
import socket
import time
from pathlib import Path
from typing import IO, Optional

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from ..files import check_no_folder
from ..main_process import on_main_process

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ['RunLockHook', 'WorkDirInUseError', 'check_unlocked']

_NAME = 'run.lock'


class WorkDirInUseError(RuntimeError):
    """Another training writes into the same work_dir."""


@HOOKS.register_module()
class RunLockHook(Hook):
    """Refuses to train in a work_dir where another process trains.

    The lock is a POSIX record lock on ``run.lock``, which names host and process. The kernel
    gives it back when the process ends, whatever ended it, so there is no stale lock to remove.
    Where the file system has no locks the log says so, and training goes on.

    Raises:
        WorkDirInUseError: With host and process of the other training.
        OSError: If the file cannot be opened, or is a folder.
    """

    priority = 'HIGHEST'

    def __init__(self) -> None:
        self._file: Optional[IO[str]] = None

    def before_run(self, runner: Runner) -> None:
        """Take the lock, in the main process; all processes end if it is taken."""
        if not isinstance(runner._train_loop, BaseLoop):  # a runner that only tests
            return
        if fcntl is not None:
            on_main_process(lambda: self._take(Path(runner.work_dir) / _NAME, runner))

    def after_run(self, runner: Runner) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self, path: Path, runner: Runner) -> None:
        """Lock the file, and say in it who has."""
        check_no_folder(path)
        try:
            file = _lock(path)
        except _NoLocksError as error:
            runner.logger.warning(
                f'{str(path)!r} cannot be locked ({error}): nothing prevents two trainings in this '
                'work_dir'
            )
            return
        with contextlib.suppress(OSError):  # a full disk
            file.truncate(0)
            started = time.strftime('%Y-%m-%d %H:%M:%S')
            file.write(f'process {os.getpid()} on {socket.gethostname()}, started {started}\n')
            file.flush()
        self._file = file


def check_unlocked(work_dir: Path) -> None:
    """Refuse a work_dir where another process trains, before anything is written into it.

    mmengine writes the config and a log there before any hook can refuse.

    Args:
        work_dir: Need not exist.

    Raises:
        WorkDirInUseError: With host and process of the other training.
        OSError: If the file of the lock cannot be opened.
    """
    path = work_dir / _NAME
    if fcntl is not None and path.is_file():
        with contextlib.suppress(_NoLocksError):
            _lock(path).close()


class _NoLocksError(Exception):
    """The file system has none."""


def _lock(path: Path) -> IO[str]:
    """The file, locked until it is closed."""
    file = open(path, 'a+')  # noqa: SIM115
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip() or 'a process that has not said who it is yet'
        file.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):  # POSIX allows both
            raise WorkDirInUseError(
                f'work_dir {str(path.parent)!r}: expected no other training there, found '
                f'{owner}. Give another --work-dir, or end that training'
            ) from error
        raise _NoLocksError(error.strerror) from error
    return file
