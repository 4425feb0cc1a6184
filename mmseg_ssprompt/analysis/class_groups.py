"""Which classes are things and which are stuff, for reports by group."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ..readable_names import stuff_classes, thing_classes

__all__ = ['find_class_groups', 'group_of_each', 'mean_by_group']


def find_class_groups(metainfo: Mapping[str, Any], dataset: str) -> Dict[str, List[int]]:
    """The ids of the classes of each group.

    Args:
        metainfo: Of the data set; its ``thing_classes`` and ``stuff_classes`` are taken if it has
            them.
        dataset: Registered type of the data set, whose groups may be known to
            :mod:`mmseg_ssprompt.readable_names`.

    Returns:
        Ids by 'things' and 'stuff', with 'other' for classes that are in neither; or all ids by
        'all', if nobody says which classes are things.
    """
    names = list(metainfo['classes'])
    members = _members(metainfo, dataset)
    if members is None:
        return dict(all=list(range(len(names))))
    groups = {
        group: [i for i, name in enumerate(names) if name in known]
        for group, known in members.items()
    }
    grouped = {i for ids in groups.values() for i in ids}
    groups['other'] = [i for i in range(len(names)) if i not in grouped]
    return {group: ids for group, ids in groups.items() if ids}


def _members(metainfo: Mapping[str, Any], dataset: str) -> Optional[Dict[str, Sequence[str]]]:
    if metainfo.get('thing_classes') or metainfo.get('stuff_classes'):
        return {
            'things': metainfo.get('thing_classes', ()),
            'stuff': metainfo.get('stuff_classes', ()),
        }
    try:
        return dict(things=thing_classes(dataset), stuff=stuff_classes(dataset))
    except ValueError:  # a data set whose things nobody has listed
        return None


def group_of_each(groups: Mapping[str, Sequence[int]]) -> List[str]:
    """The group of each class, by its id."""
    by_id = {i: group for group, ids in groups.items() for i in ids}
    return [by_id[i] for i in range(len(by_id))]


def mean_by_group(
    values: Sequence[float], groups: Mapping[str, Sequence[int]]
) -> Dict[str, Dict[str, float]]:
    """Mean, standard deviation, smallest and largest value of each group, without NaN.

    Args:
        values: (C,) one number for each class.
        groups: Class ids by group.

    Returns:
        By group: ``mean``, ``std`` (of the population), ``min``, ``max`` and ``count``; a group
        with nothing but NaN has a count of 0 and no other entry.
    """
    summaries: Dict[str, Dict[str, float]] = {}
    for group, ids in groups.items():
        present = np.asarray(values, dtype=float)[list(ids)]
        present = present[~np.isnan(present)]
        summaries[group] = dict(count=len(present))
        if len(present):
            summaries[group].update(
                mean=float(present.mean()),
                std=float(present.std()),
                min=float(present.min()),
                max=float(present.max()),
            )
    return summaries
