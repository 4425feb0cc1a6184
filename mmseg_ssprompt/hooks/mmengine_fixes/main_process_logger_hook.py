"""The figures of a test, written once."""

from typing import Dict, Optional

from mmengine.dist import is_main_process
from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

__all__ = ['MainProcessLoggerHook']


@HOOKS.register_module()
class MainProcessLoggerHook(LoggerHook):
    """mmengine's ``LoggerHook``, which writes the JSON file of a test in the main process only.

    mmengine (up to 0.10.7 and OneDL's 0.12; no release mends it) lets all processes write the same
    file at once, which can leave it damaged.

    Args:
        *args: See ``LoggerHook``.
        **kwargs: See ``LoggerHook``.
    """

    def after_test_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """Log the figures, and write them as JSON."""
        if is_main_process():
            super().after_test_epoch(runner, metrics)
