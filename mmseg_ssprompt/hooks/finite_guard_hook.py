"""Keeps NaN and infinity out of the prompts, and says where they came from."""

import math
from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim import Optimizer

from ..main_process import unwrap_model
from ..models.losses.matching import NON_FINITE_LOGITS

__all__ = ['FiniteGuardHook', 'NonFiniteError', 'describe_batch']

_POLICIES = ('stop', 'skip')
_MAX_SHOWN = 5
# A dynamic loss scale of 2^16 is below 1 after this many halvings, and will never fit.
_MAX_SCALER_SKIPS = 32


class NonFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite."""


@HOOKS.register_module()
class FiniteGuardHook(Hook):
    """Looks at every loss and every gradient before it gets to the prompts.

    Where one is not finite the optimiser's step does nothing: prompts and moments stay as they
    were. Then training stops, or with ``policy='skip'`` goes on, before anything is logged or
    saved. Losses of logits that are not finite are NaN (:class:`MaskClassificationLoss`). Several
    processes decide alike: they average gradients, and tell each other about losses. In float16
    the loss scaler leaves steps out itself, and lowers the scale, which is no reason to stop unless
    it does so 32 times in a row.

    With accumulation of gradients the step of several batches is left out, and all of them are
    named.

    Args:
        policy: ``'stop'`` or ``'skip'``. Defaults to 'stop'.
        max_in_a_row: How many steps in a row may be skipped. Defaults to 10.

    Raises:
        ValueError: If an argument is not one of these.
        NonFiniteError: With the iteration, the losses, the gradients and the files of the batch.
    """

    # Before what logs and saves.
    priority = 'HIGHEST'

    def __init__(self, policy: str = 'stop', max_in_a_row: int = 10) -> None:
        if policy not in _POLICIES:
            raise ValueError(f'policy must be one of {_POLICIES}, got {policy!r}')
        if not isinstance(max_in_a_row, int) or max_in_a_row < 1:
            raise ValueError(f'max_in_a_row must be a positive integer, got {max_in_a_row!r}')
        self.policy = policy
        self.max_in_a_row = max_in_a_row
        self._skipped = 0
        self._skipped_by_scaler = 0
        self._names: Dict[int, str] = {}
        self._handles: List[Any] = []
        self._begin_step()

    def _begin_step(self) -> None:
        # Filled by all batches since the last step, which is one without gradient accumulation.
        self._was_reached = False  # the optimiser's step
        self._is_left_out = False
        self._is_bad_here = False
        self._finite_losses: List[Tensor] = []
        self._lines: List[str] = []
        self._gradients: List[str] = []
        self._files: List[str] = []

    def before_train(self, runner: Runner) -> None:
        """Begin to look."""
        self.after_train(runner)  # if an earlier run has ended with an error
        model = unwrap_model(runner.model)
        self._names = {id(p): name for name, p in model.named_parameters()}
        optimizer = runner.optim_wrapper.optimizer
        self._handles = [
            model.register_forward_hook(self._note_losses),
            optimizer.register_step_pre_hook(self._check_step),
        ]

    def after_train(self, runner: Runner) -> None:
        """Stop looking."""
        while self._handles:
            self._handles.pop().remove()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Stop, or count, if the step was left out."""
        losses = {k: v.item() for k, v in (outputs or {}).items() if 'loss' in k}
        found = ', '.join(f'{name} = {value:g}' for name, value in losses.items())
        line = f'iteration {runner.iter + 1}: expected finite losses and gradients, found {found}'
        bad_logits = runner.message_hub.pop_info(NON_FINITE_LOGITS, None)
        self._lines += [line] if bad_logits is None else [line, bad_logits]
        self._files.append(describe_batch(data_batch))
        self._is_bad_here |= bad_logits is not None
        self._is_bad_here |= not all(map(math.isfinite, losses.values()))
        if runner.optim_wrapper.should_update():
            try:
                self._decide(runner)
            except NonFiniteError:
                self.after_train(runner)
                raise
            finally:
                self._begin_step()

    def _decide(self, runner: Runner) -> None:
        is_bad = self._is_left_out or self._is_bad_here
        if not self._was_reached:  # on no process: scalers look at averaged gradients
            is_bad = _is_true_anywhere(is_bad)
        if self._was_reached and not is_bad:
            self._skipped = self._skipped_by_scaler = 0
            return
        self._lines += self._gradients
        if is_bad:
            self._skipped += 1
        else:
            self._skipped_by_scaler += 1
            if self._skipped_by_scaler <= _MAX_SCALER_SKIPS:
                return
            self._lines.append(
                f'The loss scaler has left out {self._skipped_by_scaler} steps in a row'
            )
        if is_bad and not self._is_bad_here:
            self._lines.append('Another process has a loss that is not finite')
        problem = '\n'.join([*self._lines, *self._files])
        if is_bad and self.policy == 'skip' and self._skipped <= self.max_in_a_row:
            runner.logger.warning(f'{problem}\nSkipped: the step was not made')
            return
        count = f' ({self._skipped} in a row)' if self._skipped > 1 else ''
        raise NonFiniteError(
            f'{problem}{count}\nNothing was saved after it, and earlier checkpoints are as '
            'they were. Look at these files; a lower learning rate, or bfloat16 in place of '
            "float16, may help; FiniteGuardHook(policy='skip') leaves such batches out"
        )

    def _note_losses(self, model: nn.Module, inputs: Any, output: Any) -> None:
        """Note whether the losses of a batch are finite, without waiting for the device."""
        if not isinstance(output, dict):
            return  # predictions
        losses = [
            torch.isfinite(loss.detach()).all()
            for name, value in output.items()
            if 'loss' in name
            for loss in (value if isinstance(value, (list, tuple)) else [value])
        ]
        self._finite_losses.append(torch.stack(losses).all())

    def _check_step(
        self, optimizer: Optimizer, args: Tuple[Any, ...], kwargs: Dict[str, Any]
    ) -> None:
        """Take the gradients away from a step unless all losses and gradients are finite."""
        found_by_scaler = getattr(optimizer, 'found_inf', None)
        if found_by_scaler is not None and found_by_scaler > 0:
            return  # a fused optimiser, which does nothing then
        self._was_reached = True
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        parameters = [p for p in parameters if p.grad is not None]
        if not parameters:
            return
        flags = [*self._finite_losses, *(torch.isfinite(p.grad).all() for p in parameters)]
        finite = torch.stack(flags).float()
        # Processes have averaged their gradients, but each has losses of its own.
        all_reduce(finite, 'min')
        if finite.all():  # the only synchronisation with the device
            return
        bad = zip(parameters, finite[-len(parameters) :].tolist())
        names = [self._names.get(id(p), '?') for p, is_fine in bad if not is_fine]
        if names:
            more = f' and {len(names) - _MAX_SHOWN} more' if len(names) > _MAX_SHOWN else ''
            shown = ', '.join(names[:_MAX_SHOWN])
            self._gradients.append(f'Gradients with NaN or infinity: {shown}{more}')
            self._is_bad_here = True
        self._is_left_out = True
        for p in parameters:
            p.grad = None


def describe_batch(data_batch: Any) -> str:
    """The files of a batch of mmseg's, for an error."""
    samples = data_batch.get('data_samples') or [] if isinstance(data_batch, dict) else []
    files = [str(sample.metainfo.get('img_path')) for sample in samples]
    return f'Files of the batch: {files}'


def _is_true_anywhere(value: bool) -> bool:
    """Whether a value is true on any process of a distributed run."""
    flag = torch.tensor(float(value))
    all_reduce(flag, 'max')
    return bool(flag)
