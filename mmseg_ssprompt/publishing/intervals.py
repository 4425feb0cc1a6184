"""How far figures of a test may move with the pictures that were drawn for it."""

from typing import Any, Dict, List, Mapping, NamedTuple

import numpy as np
from mmengine.registry import DefaultScope

from ..evaluation.confusion import count_confusion, mean_iou
from ..fitting.fit_data import FitData
from ..fitting.report_pictures import each_label_maps

__all__ = ['Interval', 'find_intervals']

_DRAWS, _SHARE = 2000, 0.95
#: How far a figure may be from the one in ``results.json``, in percent, which has two digits.
_TOLERANCE = 0.02


class Interval(NamedTuple):
    """What a figure is between, in percent.

    Attributes:
        low: From which on.
        high: Up to which.
    """

    low: float
    high: float


def find_intervals(data: FitData, results: Mapping[str, Any]) -> Dict[str, Interval]:
    """Intervals of the mIoU on the test part, by drawing its pictures again with replacement.

    Args:
        data: What was fitted, in the folder that ``fit`` wrote.
        results: The content of its ``results.json``.

    Returns:
        That of ``'zero-shot'``, of the ``'best'`` arm and of the ``'gain'`` of the one above the
        other. Empty where there is no test part or fewer than two pictures in it, where objects
        were measured, and where labels or predictions are not there any more or are others.
    """
    if data.task != 'semantic' or results['zero_shot']['test'] is None:
        return {}
    names = data.names('test')
    if len(names) < 2:
        return {}
    try:
        with DefaultScope.overwrite_default_scope('mmseg'):
            counts = [
                [count_confusion(truth, found, data.label_ids) for found in (before, after)]
                for before, after, truth in each_label_maps(data, names)
            ]
    except (OSError, ValueError):  # the figures stand without them
        return {}
    confusions = np.array(counts)  # (P, 2, C, C + 1)
    best = next(arm for arm in results['arms'] if arm['name'] == results['best'])
    expected = [each['test'].get('mIoU') for each in (results['zero_shot'], best)]
    own = mean_iou(confusions.sum(axis=0))
    if None in expected or np.abs(own - np.array(expected, float)).max() > _TOLERANCE:
        return {}
    drawn = np.random.default_rng(0).integers(len(names), size=(_DRAWS, len(names)))
    means = np.array([mean_iou(confusions[each].sum(axis=0)) for each in drawn])  # (draws, 2)
    columns: List[Any] = [means[:, 0], means[:, 1], means[:, 1] - means[:, 0]]
    edges = [(1 - _SHARE) / 2, (1 + _SHARE) / 2]
    found = (np.quantile(column, edges) for column in columns)
    return {
        name: Interval(*map(float, each))
        for name, each in zip(('zero-shot', 'best', 'gain'), found)
    }
