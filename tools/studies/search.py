"""The learning rate of each row, found by the same small search."""

import math
from pathlib import Path
from typing import Dict, List, Sequence

from .definitions import StudyRow
from .runs import Training, run_all

__all__ = ['find_learning_rates', 'rates_to_try']

START = (3e-3, 1e-2, 3e-2)
SMALLEST, LARGEST = 1e-4, 1.0
TUNING_SEED = 1000  # a training set that no seed of a study draws


def rates_to_try(tried: Dict[float, float]) -> List[float]:
    """What comes next, until the best rate lies between two that were tried.

    Args:
        tried: Validation mIoU of each learning rate so far.

    Returns:
        ``START`` at first; then the next rate, about three times smaller or larger, where the
        best is at the edge of those tried; nothing when it is not, or a bound is reached.
    """
    if not tried:
        return list(START)
    best = max(tried, key=tried.__getitem__)
    step = {min(tried): 10**-0.5, max(tried): 10**0.5}.get(best)
    if step is None:
        return []
    rate = _round(best * step)
    return [rate] if SMALLEST <= rate <= LARGEST else []


def _round(rate: float) -> float:
    """To 1 or 3 times a power of ten."""
    exponent = math.floor(math.log10(rate) + 1e-9)
    return (1 if rate / 10**exponent < 2 else 3) * 10.0**exponent


def find_learning_rates(rows: Sequence[StudyRow], root: Path, jobs: int) -> Dict[StudyRow, float]:
    """The learning rate with the best validation mIoU of each row.

    All rows are searched in the same way, on the validation split, with a training set of its own.

    Args:
        rows: Those that train.
        root: Folder of all trainings.
        jobs: Runs at a time.

    Returns:
        The learning rate of each row.
    """
    tried: Dict[StudyRow, Dict[float, float]] = {row: {} for row in rows}
    while True:
        runs = [
            Training(row, rate, TUNING_SEED, root)
            for row in rows
            for rate in rates_to_try(tried[row])
        ]
        if not runs:
            return {row: max(rates, key=rates.__getitem__) for row, rates in tried.items()}
        run_all(runs, jobs)
        for run in runs:
            tried[run.row][run.lr] = run.result()['validation_miou']
