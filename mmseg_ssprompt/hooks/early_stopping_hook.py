"""Ends a training that gets no better, also one that was interrupted meanwhile."""

from typing import Any, Dict, Optional

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['ResumableEarlyStoppingHook']

#: Where the message hub, and so each checkpoint, has the count.
_KEY = 'early_stopping'


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """mmengine's ``EarlyStoppingHook``, whose count a resumed training goes on with.

    mmengine's begins to count again, so that an interrupted training would end later than another.
    The arguments are mmengine's.
    """

    def before_train(self, runner: Runner) -> None:
        """Go on with the count of the checkpoint that is resumed."""
        kept: Optional[Dict[str, Any]] = runner.message_hub.runtime_info.get(_KEY)
        if kept is not None:
            self.wait_count, self.best_score = kept['wait_count'], kept['best_score']

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """Count the validation, and end the training after too many without progress."""
        super().after_val_epoch(runner, metrics)
        kept = dict(wait_count=int(self.wait_count), best_score=float(self.best_score))
        runner.message_hub.update_info(_KEY, kept)
