"""The learning rate of each row, found by the same small search."""

from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence

from .definitions import StudyRow
from .runs import Training, run_all

__all__ = [
    'Scores',
    'best_rate',
    'find_known_scores',
    'has_found',
    'rates_to_try',
    'search',
]

#: The validation score of each learning rate that was tried.
Scores = Dict[float, float]

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
# Far apart: a search that starts in one place may end on a lower peak.
START = (3e-3, 3e-2, 3e-1)
TUNING_SEED = 1000  # a training set that no seed of a study draws


def rates_to_try(tried: Mapping[float, float]) -> List[float]:
    """What comes next, until the best rate's neighbours were tried.

    Args:
        tried: As :data:`Scores`, so far.

    Returns:
        ``START`` at first; then those of ``RATES`` on either side of the best that were not tried;
        nothing when there are none.
    """
    left = [rate for rate in START if rate not in tried]
    if left:
        return left
    best = RATES.index(best_rate(tried))
    return [rate for rate in RATES[max(best - 1, 0) : best + 2] if rate not in tried]


def has_found(tried: Mapping[float, float]) -> bool:
    """Whether these are the rates that a complete search tries."""
    return set(tried) <= set(RATES) and not rates_to_try(tried)


def best_rate(tried: Mapping[float, float]) -> float:
    """The learning rate with the best validation score."""
    return max(tried, key=tried.__getitem__)


def search(rows: Sequence[StudyRow], root: Path, jobs: int) -> Dict[StudyRow, Scores]:
    """Find the learning rate of each row.

    All rows are searched in the same way, on the validation split, with a training set of its own.

    Args:
        rows: Those that train.
        root: Folder of all trainings.
        jobs: Runs at a time.

    Returns:
        What was tried for each row; :func:`best_rate` says which rate is taken.
    """
    tried: Dict[StudyRow, Scores] = {row: {} for row in rows}
    while True:
        runs = [
            Training(row, rate, TUNING_SEED, root)
            for row in rows
            for rate in rates_to_try(tried[row])
        ]
        if not runs:
            return tried
        run_all(runs, jobs)
        for run in runs:
            tried[run.row][run.lr] = run.result()['validation_score']


def find_known_scores(row: StudyRow, root: Path) -> Optional[Scores]:
    """What a complete search has tried; None where it is not complete."""
    tried: Scores = {}
    while rates := rates_to_try(tried):
        for rate in rates:
            run = Training(row, rate, TUNING_SEED, root)
            if not run.result_file.is_file():
                return None
            tried[rate] = run.result()['validation_score']
    return tried
