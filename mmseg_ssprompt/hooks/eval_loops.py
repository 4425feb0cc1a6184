"""Validation and test that say which file of a data set cannot be read."""

from typing import Any, Dict

from mmengine.registry import LOOPS
from mmengine.runner import TestLoop, ValLoop

from ..datasets.checks import explain_dataset_errors

__all__ = ['PromptTestLoop', 'PromptValLoop']


class _ExplainDatasetErrors:
    """Builds and runs a loop within :func:`explain_dataset_errors`, whichever tool runs it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with explain_dataset_errors():
            super().__init__(*args, **kwargs)

    def run(self) -> Dict[str, float]:
        """Run the loop, and return the numbers of the evaluators by name."""
        with explain_dataset_errors():
            metrics: Dict[str, float] = super().run()  # type: ignore[misc]
        return metrics


@LOOPS.register_module()
class PromptValLoop(_ExplainDatasetErrors, ValLoop):
    """mmengine's ``ValLoop``, whose errors name the data set or the file.

    Args:
        *args: See ``ValLoop``.
        **kwargs: See ``ValLoop``.

    Raises:
        DatasetError: If the data set is empty, or a sample cannot be read.
    """


@LOOPS.register_module()
class PromptTestLoop(_ExplainDatasetErrors, TestLoop):
    """mmengine's ``TestLoop``, whose errors name the data set or the file.

    Args:
        *args: See ``TestLoop``.
        **kwargs: See ``TestLoop``.

    Raises:
        DatasetError: If the data set is empty, or a sample cannot be read.
    """
