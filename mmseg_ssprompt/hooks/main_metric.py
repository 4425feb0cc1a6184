"""By which result of a validation one checkpoint is better than another."""

from typing import Any, Mapping, Optional, Sequence

__all__ = ['MAIN_METRICS', 'check_best_keys', 'find_main_metric']

#: The main result of mmseg's ``IoUMetric`` for each of its ``iou_metrics``; more is better.
MAIN_METRICS = ('mIoU', 'mDice', 'mFscore')


def find_main_metric(results: Mapping[str, Any]) -> Optional[str]:
    """The main one among the results of one or more evaluators.

    It is ``mIoU``, or else ``mDice`` or ``mFscore``, with or without an evaluator's prefix
    (``'val/mIoU'``). Where several evaluators have it, that of the first one is taken.

    Args:
        results: What a validation returns: numbers by name, in the order of the evaluators.

    Returns:
        Its name among the results; None if the results have no such figure.
    """
    for wanted in MAIN_METRICS:
        for name in results:
            if name.rsplit('/', 1)[-1] == wanted:
                return name
    return None


def check_best_keys(keys: Sequence[str], results: Mapping[str, Any]) -> None:
    """Check that the best checkpoint is asked for by results that there are.

    Args:
        keys: Names of results: ``save_best`` of the checkpoint hook.
        results: What a validation returns.

    Raises:
        ValueError: With the names that no result has, and those that there are.
    """
    missing = [key for key in keys if key not in results]
    if missing:
        raise ValueError(
            f'default_hooks.checkpoint.save_best: the validation returns no {missing}: expected '
            f"some of {list(results)}. Set save_best to one of these, to 'auto' or to None"
        )
