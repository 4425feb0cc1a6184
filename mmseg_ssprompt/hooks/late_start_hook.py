"""Parts that begin to train when the others have trained for a while."""

from typing import Any, List, Sequence

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ..main_process import unwrap_model

__all__ = ['LateStartHook']


@HOOKS.register_module()
class LateStartHook(Hook):
    """A schedule of two stages: some parts of the head wait before they train.

    Learning rates follow the one schedule of the training; a part that waits has no gradient, and
    the optimiser leaves it out. A training that is resumed goes on in the stage where it was. For
    one process: in several, DDP expects the same parameters in each step.

    Args:
        parts: Modules of the decode head, such as ``['spatial_prompts']``.
        begin: The iteration from which they train, counted from 0.

    Raises:
        ValueError: If no parts are named, or ``begin`` is not a positive integer; and before
            training if the head has no such part, or nothing in it trains.
    """

    def __init__(self, parts: Sequence[str], begin: int) -> None:
        if isinstance(parts, str) or not parts:
            raise ValueError(
                f"LateStartHook: expected parts such as ['spatial_prompts'], got {parts!r}"
            )
        if type(begin) is not int or begin < 1:
            raise ValueError(f'LateStartHook: begin must be a positive integer, got {begin!r}')
        self.parts, self.begin = tuple(parts), begin
        self._waiting: List[nn.Parameter] = []

    def before_train(self, runner: Runner) -> None:
        """Find what waits."""
        head = unwrap_model(runner.model).decode_head
        self._waiting = []
        for name in self.parts:
            part = getattr(head, name, None)
            found = [p for p in part.parameters() if p.requires_grad] if part is not None else []
            if not found:
                trains = [key for key, child in head.named_children() if _trains(child)]
                raise ValueError(
                    f'LateStartHook: expected parts that train, some of {trains}, found {name!r}'
                )
            self._waiting += found

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Let the parts wait, or train."""
        for parameter in self._waiting:
            parameter.requires_grad_(runner.iter >= self.begin)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        for parameter in self._waiting:
            parameter.requires_grad_(True)


def _trains(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
