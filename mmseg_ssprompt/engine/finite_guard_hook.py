"""Keeps NaN and infinity out of the prompts, and says where they came from."""

from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

__all__ = ['FiniteGuardHook', 'NonFiniteError', 'describe_batch']

_POLICIES = ('stop', 'skip')
_MAX_SHOWN = 5
# A dynamic loss scale of 2^16 is below 1 after so many halvings, and will never do.
_MAX_ITERATIONS_WITHOUT_STEP = 32


class NonFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite."""


@HOOKS.register_module()
class FiniteGuardHook(Hook):
    """Looks at every gradient before it gets to the prompts, and at every loss.

    Where a gradient is not finite the optimiser's step does nothing: prompts and moments stay as
    they were. Then training stops, or with ``policy='skip'`` goes on, before anything is logged
    or saved. Several processes decide alike, since gradients are averaged before. In float16 the
    loss scaler leaves such steps out itself, and lowers the scale, which is no reason to stop
    unless it goes on for 32 iterations.

    Args:
        policy: ``'stop'`` or ``'skip'``. Defaults to 'stop'.
        max_in_a_row: How many iterations in a row may be skipped. Defaults to 10.

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
        self._in_a_row = 0
        self._without_step = 0
        self._bad_gradients: List[str] = []
        self._names: Dict[int, str] = {}
        self._handle: Any = None

    def before_train(self, runner: Runner) -> None:
        """Begin to look at the gradients."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._handle = runner.optim_wrapper.optimizer.register_step_pre_hook(self._look)

    def after_train(self, runner: Runner) -> None:
        """Leave the optimiser alone again."""
        self._handle.remove()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Stop, or count, if something was not finite."""
        losses = {
            name: float(value)
            for name, value in (outputs or {}).items()
            if not isinstance(value, Tensor) or value.numel() == 1
        }
        bad_losses = {name: v for name, v in losses.items() if not abs(v) < float('inf')}
        bad_gradients, self._bad_gradients = self._bad_gradients, []
        self._without_step += 1
        limit = _MAX_ITERATIONS_WITHOUT_STEP * runner.optim_wrapper._accumulative_counts
        if not bad_losses and not bad_gradients and self._without_step <= limit:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        problem = _describe(runner.iter, losses, bad_gradients, self._without_step, data_batch)
        may_skip = self.policy == 'skip' and self._without_step <= limit
        if not may_skip or self._in_a_row > self.max_in_a_row:
            count = f' ({self._in_a_row} in a row)' if self._in_a_row > 1 else ''
            raise NonFiniteError(
                f'{problem}{count}\nNothing was saved after it, and earlier checkpoints are as '
                'they were. Look at these files; a lower learning rate, or bfloat16 in place of '
                "float16, may help; FiniteGuardHook(policy='skip') leaves such batches out"
            )
        runner.logger.warning(f'{problem}\nSkipped: the step was not made')

    def _look(self, optimizer: Optimizer, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
        """Take the gradients away from a step unless all of them are finite."""
        self._without_step = 0
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        parameters = [p for p in parameters if p.grad is not None]
        finite = torch.stack([torch.isfinite(p.grad).all() for p in parameters])
        if not finite.all():  # the only synchronisation with the device
            bad = (p for p, is_finite in zip(parameters, finite.tolist()) if not is_finite)
            self._bad_gradients = [self._names.get(id(p), '?') for p in bad]
            for p in parameters:
                p.grad = None


def describe_batch(data_batch: Any) -> str:
    """The files of a batch of mmseg's, for an error."""
    samples = data_batch.get('data_samples') or [] if isinstance(data_batch, dict) else []
    files = [str(sample.metainfo.get('img_path')) for sample in samples]
    return f'Files of the batch: {files}'


def _describe(
    iteration: int,
    losses: Dict[str, float],
    gradients: List[str],
    without_step: int,
    data_batch: Any,
) -> str:
    found = ', '.join(f'{name} = {value:g}' for name, value in losses.items())
    lines = [f'iteration {iteration + 1}: expected finite losses and gradients, found {found}']
    if gradients:
        hidden = len(gradients) - _MAX_SHOWN
        more = f' and {hidden} more' if hidden > 0 else ''
        lines.append(f'Gradients with NaN or infinity: {", ".join(gradients[:_MAX_SHOWN])}{more}')
    elif without_step > 1:
        lines.append(f'The loss scaler has made no step in {without_step} iterations')
    return '\n'.join([*lines, describe_batch(data_batch)])
