"""Checkpoints of which, at every moment, the last complete one is there."""

import contextlib
import logging
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set, Union

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from ..files import check_no_folder, remove_leftovers, write_atomically
from ..main_process import on_main_process
from ..outputs import OutputError, find_inputs
from ..weights.checkpoint_loader import load_from_local, safe_checkpoint_loading
from ..weights.state_dicts import CheckpointError
from .main_metric import MAIN_METRICS, check_best_keys, find_main_metric
from .newest_checkpoint import find_newest_checkpoint, find_resume_problem

__all__ = ['AtomicCheckpointHook', 'AtomicLocalBackend']

_BACKEND = 'AtomicLocalBackend'


@register_backend(_BACKEND)
class AtomicLocalBackend(LocalBackend):
    """Local files that are there as a whole or not at all."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write a file.

        Args:
            obj: All of its content.
            filepath: Its path; folders are made.

        Raises:
            OSError: If it cannot be written, with the path and the bytes that are needed and
                free, or if there is a folder of its name. A file that was there before is as it
                was.
        """
        file = Path(filepath)
        check_no_folder(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, obj)
        except OSError as error:
            raise type(error)(error.errno, _describe_failed_write(file, len(obj), error)) from error


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, which loses nothing when it is interrupted.

    mmengine writes a checkpoint over the file that is there, and removes the outdated one before
    the new one is complete. Here a checkpoint is written under another name, synchronised, renamed
    and read back, and only then is the outdated one removed.

    With ``resume=True`` and no ``load_from`` training goes on from the newest checkpoint in the
    folder that is complete, and the log says which were not, and why. mmengine believes the file
    ``last_checkpoint`` instead, which may be empty or name a file that is gone.

    The best checkpoint of all validations is kept too, as ``best_mIoU_iter_N.pth``, beside those
    that ``max_keep_ckpts`` counts. By mmengine's ``save_best='auto'`` it would be the one with the
    highest pixel accuracy, which is the first number that mmseg's metrics return.

    Args:
        *args: See ``CheckpointHook``.
        save_best: The number among those of the evaluators that decides which checkpoint is the
            best, several of them, or ``'auto'``: see :func:`find_main_metric`. None: no best one
            is kept. Defaults to 'auto'.
        **kwargs: See ``CheckpointHook``.

    Raises:
        CheckpointError: On resuming, if there are checkpoints but none is complete.
        IsADirectoryError: Before training, if ``last_checkpoint`` is a folder.
        OutputError: Before training, if a file that it reads has the name of a checkpoint.
        ValueError: After a validation, if it returns no number named ``save_best``.
    """

    # mmengine's own.
    backend_args: Optional[Dict[str, Any]]
    best_ckpt_path: Optional[str]
    file_backend: Any

    def __init__(
        self, *args: Any, save_best: Union[str, List[str], None] = 'auto', **kwargs: Any
    ) -> None:
        super().__init__(*args, save_best=save_best, **kwargs)
        self._has_begun = False
        given = self.backend_args is not None or self.file_client_args is not None
        self._is_local = not given and '://' not in str(self.out_dir)
        if self._is_local:
            self.backend_args = dict(backend=_BACKEND)

    def before_run(self, runner: Runner) -> None:
        """Find the checkpoint to go on from, and let the runner read it safely."""
        # mmseg's tools, other than ours, read by mmengine's loaders. Only this runner is changed.
        runner.load_checkpoint = safe_checkpoint_loading()(runner.load_checkpoint)
        # A runner that only tests has the config of a training loop, or none.
        is_training = isinstance(runner._train_loop, BaseLoop)
        if not is_training or not runner._resume or runner._load_from is not None:
            return
        # So that all processes go on from the same.
        found = on_main_process(lambda: self._find_newest(runner))
        if found is None:
            runner.logger.info(f'{runner.work_dir} has no checkpoint: starting from scratch')
            runner._resume = False
        else:
            runner._load_from = str(found)

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Refuse to resume from prompts alone, or from the state of another training."""
        problem = find_resume_problem(checkpoint, runner) if runner._resume else None
        if problem is not None:
            raise CheckpointError(
                f'cannot resume from {str(runner._load_from)!r}: {problem}. To begin a training '
                'with these prompts, give it as load_from, without --resume'
            )

    def before_train(self, runner: Runner) -> None:
        """See ``CheckpointHook``; what an interrupted writing has left is removed."""
        on_main_process(lambda: check_no_folder(Path(runner.work_dir) / 'last_checkpoint'))
        super().before_train(runner)
        self._check_taken(runner)
        self._has_begun = True
        if is_main_process() and self._is_local:
            remove_leftovers(Path(self.out_dir))
        if not (self.save_optimizer and self.save_param_scheduler):
            runner.logger.warning(
                'AtomicCheckpointHook: save_optimizer or save_param_scheduler is False, so that no '
                'checkpoint of this training can be resumed'
            )

    def _check_taken(self, runner: Runner) -> None:
        """Refuse to save over what the training reads, and tell of others' checkpoints."""
        folder, names = Path(self.out_dir), [self.filename_tmpl.format('*'), 'best_*.pth']
        taken = sorted(file for name in names for file in folder.glob(name))
        cfg = runner.cfg if runner.iter == 0 else Config(dict(runner.cfg, load_from=None))
        inputs = find_inputs(cfg)
        for file in taken:
            what = inputs.find_file(file)
            if what is not None:
                raise OutputError(
                    f'{str(file)!r} is {what}: expected it outside of the folder {str(folder)!r}, '
                    'where this training replaces checkpoints of this name by its own. Give '
                    'another --work-dir, or --resume that training'
                )
        if taken and runner.iter == 0:
            runner.logger.warning(
                f'{str(folder)!r} holds {len(taken)} checkpoints of another training, such as '
                f'{taken[0].name!r}: this one replaces those of the same iteration. To keep them, '
                'give another --work-dir'
            )

    def _find_newest(self, runner: Runner) -> Optional[Path]:
        folder = Path(runner.work_dir)
        if self.out_dir not in (None, runner.work_dir):
            folder = Path(self.out_dir) / folder.resolve().name
        has_schedulers = runner.param_schedulers is not None
        return find_newest_checkpoint(folder, self.filename_tmpl, has_schedulers)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: Dict[str, Any]) -> None:
        with self._removing_afterwards():
            super()._save_checkpoint_with_step(runner, step, meta)
            if is_main_process() and self._is_local:
                load_from_local(self.last_ckpt)

    def _save_best_checkpoint(self, runner: Runner, metrics: Dict[str, Any]) -> None:
        # Without training there is no folder either.
        if (
            self.save_best is None
            or not self._has_begun
            or not self._find_best_keys(runner, metrics)
        ):
            return
        known = self._best_checkpoints()
        with self._removing_afterwards():
            super()._save_best_checkpoint(runner, metrics)
            if is_main_process() and self._is_local:
                for path in self._best_checkpoints() - known:
                    load_from_local(path)

    def _find_best_keys(self, runner: Runner, metrics: Dict[str, Any]) -> bool:
        """Let ``key_indicators`` be numbers of the evaluators; False if none can be the main one.

        Raises:
            ValueError: If ``save_best`` names one that there is not.
        """
        if self.key_indicators == ['auto']:
            key = find_main_metric(metrics)
            if key is None:
                self.save_best = None
                print_log(
                    f'No best checkpoint is kept: expected one of {list(MAIN_METRICS)} among the '
                    f'results of the validation, found {list(metrics)}. Set '
                    'default_hooks.checkpoint.save_best to the one that decides, and rule to '
                    "'greater' or 'less'",
                    'current',
                    logging.WARNING,
                )
                return False
            self._init_rule([self.rules[0] or 'greater'], [key])
            self._forget_another_best(runner, key)
        check_best_keys(self.key_indicators, metrics)
        return True

    def _forget_another_best(self, runner: Runner, key: str) -> None:
        """Compare with no score of another result, by which the best was chosen before."""
        path = self.best_ckpt_path
        if path is not None and not Path(path).name.startswith(f'best_{key}_'.replace('/', '_')):
            self.best_ckpt_path = None
            runner.message_hub.pop_info('best_score', None)

    def _best_checkpoints(self) -> Set[str]:
        is_one = len(self.key_indicators) == 1
        paths = [self.best_ckpt_path] if is_one else self.best_ckpt_path_dict.values()
        return {path for path in paths if path is not None}

    @contextlib.contextmanager
    def _removing_afterwards(self) -> Iterator[None]:
        """Remove outdated checkpoints when the new one is complete."""
        backend = self.file_backend
        self.file_backend = keeping = _KeepsOutdated(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        for path in keeping.outdated:
            # The path of the best one was in the checkpoint that was resumed: of a work_dir that
            # was copied, or of a stranger.
            if self._is_local and Path(path).resolve().parent != Path(self.out_dir).resolve():
                print_log(
                    f'{path!r} is outdated, but not removed: it is not in {str(self.out_dir)!r}',
                    'current',
                    logging.WARNING,
                )
            else:
                backend.remove(path)


class _KeepsOutdated:
    """A file backend that notes what is to be removed."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.outdated: List[str] = []

    def remove(self, path: str) -> None:
        self.outdated.append(path)

    def rmtree(self, path: str) -> None:
        print_log(f'{path!r} is a folder, and is not removed', 'current', logging.WARNING)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def _describe_failed_write(file: Path, needed: int, error: OSError) -> str:
    try:
        free = f'{shutil.disk_usage(file.parent).free:,}'
    except OSError:
        free = 'an unknown number of'
    return (
        f'cannot write {str(file)!r}: {needed:,} bytes are needed, {free} are free '
        f'({error.strerror or error}). What was saved before is still there: make room, or let '
        'work_dir be where there is some, and resume'
    )
