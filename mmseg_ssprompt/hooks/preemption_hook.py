"""Leaves a training that is told to stop with a checkpoint, and asks slurm to go on with it."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
from logging import Logger
from typing import Any, Dict, Optional

import torch
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['VALIDATION_DUE', 'PreemptionHook']

#: In the message hub, and so in checkpoints: whether a validation follows on the last iteration.
#: (The log has all that begins with 'val'.)
VALIDATION_DUE = 'is_validation_due'

# Windows has no SIGUSR1.
_REQUEUE = getattr(signal, 'SIGUSR1', None)
_SIGNALS = tuple(number for number in (_REQUEUE, signal.SIGTERM) if number is not None)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGUSR1 and SIGTERM: saves a checkpoint, and leaves with 128 + the signal's number.

    On SIGUSR1, which slurm sends ahead of a time limit (``sbatch --signal=USR1@120``), the job is
    requeued by ``scontrol requeue``; on SIGTERM whoever sent it decides. The checkpoint is the one
    that ``CheckpointHook`` would save after the iteration that was under way, so that training
    goes on from it with ``resume=True``. A validation that was cut short is then repeated.

    One process leaves before the next iteration or validation batch. Several leave at one that
    all of them agree on, since the signal may reach them at different iterations.

    Args:
        interval: How many iterations, or validation batches, lie between two agreements of several
            processes: each is a collective and a synchronisation with the device. So many have to
            fit into the time between signal and kill. Defaults to 10.
    """

    # CheckpointHook saves after an iteration, and this hook before the next: state is complete,
    # and no other hook has begun with the iteration.
    priority = 'HIGHEST'

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._received = 0
        self._previous: Dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Take over the signals."""
        if _find_checkpoint_hook(runner) is None:
            why = 'there is no CheckpointHook with by_epoch=False'
        else:
            try:
                for number in _SIGNALS:
                    self._previous[number] = signal.signal(number, self._receive)
                return
            except ValueError:
                why = 'training does not run in the main thread'
        runner.logger.warning(f'Preemption is not handled: {why}')

    def before_train_epoch(self, runner: Runner) -> None:
        """Do the validation that was cut short: the loop goes on with the iteration after it."""
        if runner.message_hub.runtime_info.get(VALIDATION_DUE, False):
            runner.message_hub.update_info(VALIDATION_DUE, False)
            if runner.val_loop is not None:
                runner.logger.info(
                    f'Validating after {runner.iter} iterations, which was cut short'
                )
                runner.val_loop.run()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Leave if there was a signal."""
        _separate_workers()
        if self._is_agreed(runner.iter):
            self._leave(runner, validation_due=False)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Leave if there was a signal."""
        _separate_workers()
        loader = runner.val_dataloader
        count = (batch_idx + 1) * (loader.batch_size or 1) * get_world_size()
        # With a sampler that does not round up, not every process has the last batch.
        if count <= len(loader.dataset) and self._is_agreed(batch_idx):
            self._leave(runner, validation_due=True)

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """The validation is done, before a checkpoint with its result is saved."""
        runner.message_hub.update_info(VALIDATION_DUE, False)

    def after_train(self, runner: Runner) -> None:
        """Give the signals back: there is nothing left to save."""
        self.restore_signals()

    def restore_signals(self) -> None:
        """Let the handlers of before handle signals again; ResumableTrainLoop does on an error."""
        for number, handler in self._previous.items():
            # None: a handler that was not installed by Python, which cannot install it either.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}

    def _receive(self, number: int, frame: Any) -> None:
        # The first signal counts: those that follow find the checkpoint being saved.
        self._received = self._received or number

    def _is_agreed(self, step: int) -> bool:
        if get_world_size() > 1:
            if not self._previous or step % self.interval != 0:
                return False
            received = torch.tensor(self._received)
            all_reduce(received, 'max')
            self._received = int(received)
        return self._received > 0

    def _leave(self, runner: Runner, validation_due: bool) -> None:
        name, iteration = signal.Signals(self._received).name, runner.iter
        runner.logger.warning(f'{name}: saving after {iteration} iterations, and leaving')
        if validation_due:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # the averaged weights stand in the model's place
                    hook.after_val_epoch(runner)
        runner.message_hub.update_info(VALIDATION_DUE, validation_due)
        meta = dict(epoch=runner.epoch, iter=iteration)
        checkpoint_hook = _find_checkpoint_hook(runner)
        assert checkpoint_hook is not None  # or the signals would not have been taken over
        checkpoint_hook._save_checkpoint_with_step(runner, iteration, meta)
        if self._received == _REQUEUE and is_main_process():
            _requeue(runner.logger)
        barrier()  # srun ends the others when one leaves with a status other than 0
        self.restore_signals()
        raise SystemExit(128 + self._received)


def _separate_workers() -> None:
    """Move the workers of data loaders out of the process group.

    torchrun, and slurm without cgroups, signal the group as a whole; workers would die of it, and
    the training of their death. Each iteration looks, since loaders start workers at any time.
    """
    for pid in filter(None, (worker.pid for worker in multiprocessing.active_children())):
        # Ended meanwhile, or spawned instead of forked; Windows has no groups to leave.
        with contextlib.suppress(OSError, AttributeError):
            os.setpgid(pid, pid)


def _find_checkpoint_hook(runner: Runner) -> Optional[CheckpointHook]:
    hooks = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    return next((hook for hook in hooks if not hook.by_epoch), None)


def _requeue(logger: Logger) -> None:
    """Ask slurm to run the job again; without slurm there is nobody to ask."""
    job = os.environ.get('SLURM_JOB_ID')
    if job is None:
        return
    if 'SLURM_ARRAY_TASK_ID' in os.environ:
        # One task of an array has the array's number as its job id, which means all tasks.
        job = f'{os.environ["SLURM_ARRAY_JOB_ID"]}_{os.environ["SLURM_ARRAY_TASK_ID"]}'
    command = ['scontrol', 'requeue', job]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, 'stderr', None) or str(error)).strip()
        logger.error(f'`{" ".join(command)}` failed ({reason}): submit the job again, to resume')
    else:
        logger.info(f'Job {job} is requeued')
