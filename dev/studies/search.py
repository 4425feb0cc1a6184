"""The learning rate of each row, found by the same small search."""

from pathlib import Path
from typing import Dict, List, Optional, Sequence

from .definitions import StudyRow
from .runs import Training, run_all

__all__ = ['find_known_rate', 'find_learning_rates', 'rates_to_try']

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
# Far apart: scores may have more than one peak (spatial prompts alone: at 0.01 and at 0.3).
START = (3e-3, 3e-2, 3e-1)
TUNING_SEED = 1000  # a training set that no seed of a study draws


def rates_to_try(tried: Dict[float, float]) -> List[float]:
    """What comes next, until the best rate's neighbours were tried.

    Args:
        tried: Validation score of each learning rate so far.

    Returns:
        ``START`` at first; then those of ``RATES`` on either side of the best that were not tried;
        nothing when there are none.
    """
    if not tried:
        return list(START)
    best = RATES.index(max(tried, key=tried.__getitem__))
    return [rate for rate in RATES[max(best - 1, 0) : best + 2] if rate not in tried]


def find_learning_rates(rows: Sequence[StudyRow], root: Path, jobs: int) -> Dict[StudyRow, float]:
    """The learning rate with the best validation score of each row.

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
            tried[run.row][run.lr] = run.result()['validation_score']


def find_known_rate(row: StudyRow, root: Path) -> Optional[float]:
    """The learning rate that a complete search has found; None where it is not complete."""
    tried: Dict[float, float] = {}
    while rates := rates_to_try(tried):
        for rate in rates:
            run = Training(row, rate, TUNING_SEED, root)
            if not run.result_file.is_file():
                return None
            tried[rate] = run.result()['validation_score']
    return max(tried, key=tried.__getitem__)
