"""Saves checkpoints so that the last complete one is there at every moment."""

import contextlib
import logging
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Union

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner

from ..files import check_no_folder, remove_leftovers, write_atomically
from ..main_process import on_main_process
from ..outputs import OutputError, find_inputs
from ..weights.checkpoint_loader import safe_checkpoint_loading
from ..weights.state_dicts import CheckpointError
from .newest_checkpoint import find_newest_checkpoint, find_state_problem

__all__ = ['AtomicCheckpointHook', 'AtomicLocalBackend', 'find_main_metric']

_BACKEND = 'AtomicLocalBackend'
#: The main results of evaluators; more is better. First those of panoptic maps, of the masks of
#: objects (by COCO's rules and by Cityscapes') and of their boxes; then those of label maps, for
#: each of the ``iou_metrics`` of mmseg's ``IoUMetric``.
_MAIN_METRICS = ('PQ', 'segm_mAP', 'mAP', 'bbox_mAP', 'mIoU', 'mDice', 'mFscore')


@register_backend(_BACKEND)
class AtomicLocalBackend(LocalBackend):
    """Local files that are there as a whole or not at all."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write a file; its folders are made.

        Raises:
            OSError: With the path and the bytes that are needed and free, or if there is a folder
                of its name. A file that was there before is as it was.
        """
        file = Path(filepath)
        check_no_folder(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, obj)
        except OSError as error:
            free = 'an unknown number of'
            with contextlib.suppress(OSError):
                free = f'{shutil.disk_usage(file.parent).free:,}'
            raise type(error)(
                error.errno,
                f'cannot write {str(file)!r}: {len(obj):,} bytes are needed, {free} are free '
                f'({error.strerror or error}). What was saved before is still there: make room, '
                'or let work_dir be where there is some, and resume',
            ) from error


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, which loses nothing when it is interrupted.

    mmengine writes a checkpoint over the file that is there, and removes the outdated one before
    the new one is complete. Here a checkpoint is written under another name, synchronised
    and renamed, and only then is the outdated one removed.

    With ``resume=True`` and no ``load_from`` training goes on from the newest checkpoint in the
    folder that is complete, and the log says which were not, and why. mmengine believes the file
    ``last_checkpoint`` instead, which may be empty or name a file that is gone.

    The best checkpoint of all validations is kept too, as ``best_mIoU_iter_N.pth`` or by another
    main result, beside those
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
    """

    # mmengine infers from these names that more is better.
    _default_greater_keys = (*CheckpointHook._default_greater_keys, 'PQ', 'AP')
    # mmengine's own.
    backend_args: Optional[Dict[str, Any]]
    save_best: Any
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
        folder = Path(runner.work_dir)
        if self.out_dir not in (None, runner.work_dir):
            folder = Path(self.out_dir) / folder.resolve().name
        arguments = folder, self.filename_tmpl, runner.param_schedulers is not None
        # So that all processes go on from the same.
        found = on_main_process(lambda: find_newest_checkpoint(*arguments))
        if found is None:
            runner.logger.info(f'{runner.work_dir} has no checkpoint: starting from scratch')
            runner._resume = False
        else:
            runner._load_from = str(found)

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Refuse to resume from prompts alone, or from a moving average in their place."""
        if not runner._resume:
            return
        problem = find_state_problem(checkpoint, runner.param_schedulers is not None)
        has_average = any(isinstance(hook, EMAHook) for hook in runner.hooks)
        if problem is None and 'ema_state_dict' in checkpoint and not has_average:
            problem = (
                'expected no moving average, since there is no EMAHook, found ema_state_dict: the '
                'prompts in state_dict are the average then, and not those that train'
            )
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

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: Dict[str, Any]) -> None:
        with self._removing_afterwards():
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: Dict[str, Any]) -> None:
        if self.save_best is None or not self._has_begun:  # without training there is no folder
            return
        if self.key_indicators == ['auto']:
            key = find_main_metric(metrics)
            if key is None:
                self.save_best = None
                runner.logger.warning(
                    f'No best checkpoint is kept: expected one of {list(_MAIN_METRICS)} among the '
                    f'results of the validation, found {list(metrics)}. Set '
                    'default_hooks.checkpoint.save_best to the one that decides, and rule to '
                    "'greater' or 'less'"
                )
                return
            self._init_rule([self.rules[0] or 'greater'], [key])
        with self._removing_afterwards():
            super()._save_best_checkpoint(runner, metrics)

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
            is_elsewhere = Path(path).resolve().parent != Path(self.out_dir).resolve()
            if self._is_local and (is_elsewhere or Path(path).is_dir()):
                text = f'{path!r} is outdated, but no file in {self.out_dir!r}: it stays'
                print_log(text, 'current', logging.WARNING)
            else:
                backend.remove(path)


class _KeepsOutdated:
    """A file backend that notes what is to be removed."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.outdated: List[str] = []

    def remove(self, path: str) -> None:
        self.outdated.append(path)

    rmtree = remove

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def find_main_metric(results: Dict[str, Any]) -> Optional[str]:
    """The name of the main one among the results of evaluators, or None.

    It is the first of ``PQ``, ``segm_mAP``, ``mAP``, ``bbox_mAP``, ``mIoU``, ``mDice`` and
    ``mFscore`` that there is, with or without an evaluator's prefix (``'val/mIoU'``). Where several
    evaluators have it, that of the first one is taken.
    """
    for wanted in _MAIN_METRICS:
        for name in results:
            if name.rsplit('/', 1)[-1] == wanted:
                return name
    return None
