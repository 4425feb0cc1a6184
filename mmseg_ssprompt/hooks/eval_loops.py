"""Validation and test that say which file of a data set cannot be read."""

from typing import Any, Dict

from mmengine.registry import LOOPS
from mmengine.runner import TestLoop, ValLoop

from ..datasets.checks import explain_dataset_errors

__all__ = ['PromptTestLoop', 'PromptValLoop']


@LOOPS.register_module()
class PromptValLoop(ValLoop):
    """mmengine's ``ValLoop``, whose errors name the data set or the file.

    It builds and reads data within :func:`explain_dataset_errors`, whichever tool runs it.

    Args:
        *args: See ``ValLoop``.
        **kwargs: See ``ValLoop``.

    Raises:
        DatasetError: If the data set is empty, or a sample cannot be read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with explain_dataset_errors():
            super().__init__(*args, **kwargs)

    def run(self) -> Dict[str, float]:
        """Validate, and return the numbers of the evaluators by name."""
        with explain_dataset_errors():
            metrics: Dict[str, float] = super().run()
        return metrics


@LOOPS.register_module()
class PromptTestLoop(TestLoop):
    """mmengine's ``TestLoop``, whose errors name the data set or the file.

    It builds and reads data within :func:`explain_dataset_errors`, whichever tool runs it.

    Args:
        *args: See ``TestLoop``.
        **kwargs: See ``TestLoop``.

    Raises:
        DatasetError: If the data set is empty, or a sample cannot be read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with explain_dataset_errors():
            super().__init__(*args, **kwargs)

    def run(self) -> Dict[str, float]:
        """Test, and return the numbers of the evaluators by name."""
        with explain_dataset_errors():
            metrics: Dict[str, float] = super().run()
        return metrics
