"""Whether a data set's pipeline keeps to the numbers that a model has label maps hold."""

from typing import Any, Tuple

import numpy as np
from mmengine.dataset import BaseDataset, Compose

from ..label_ids import IGNORED_8_BITS, LabelIds
from .checks import DatasetError
from .label_maps import LoadLabelMap
from .steps import each_step, loaded_kind

__all__ = ['check_label_settings']


def check_label_settings(dataset: BaseDataset, label_ids: LabelIds, name: str) -> None:
    """Refuse a data set whose settings would change or mistake the numbers in label maps.

    Nothing is read: the data set's own settings and those of its transforms are looked at.

    Args:
        dataset: A data set that reads files, without wrappers.
        label_ids: The numbers that the model's head expects.
        name: What it is for, such as ``'training'``.
    """
    where = f'the {name} data set {type(dataset).__name__}'
    _check_rest(dataset, label_ids, where)
    pipeline = getattr(dataset, 'pipeline', None) or []
    if hasattr(dataset, 'recipe'):  # of embedded samples, which a pipeline has made before
        pipeline = Compose(dataset.recipe.dataset.get('pipeline') or [])
    is_loaded = False
    for step in each_step(pipeline):
        if loaded_kind(step.transform) == 'label map':
            is_loaded = True
            _check_loader(dataset, step.transform, label_ids, where)
        elif is_loaded:
            _check_fill(step.transform, label_ids, where)


def _check_rest(dataset: BaseDataset, ids: LabelIds, where: str) -> None:
    """Compare what the data set says of a single class with the model's number of the rest.

    Few-shot draws read it there, without a model. Of one class of a registered data set, mmseg
    makes 0, and 255 of all others.
    """
    metainfo = getattr(dataset, 'metainfo', {})
    found = metainfo.get('rest_id')
    is_registered = getattr(type(dataset), 'METAINFO', {}).get('classes')
    if found is None and is_registered and 'labelled_classes' not in metainfo:
        found = 255 if getattr(dataset, 'label_map', None) and ids.num_classes == 1 else None
    if found is not None and found != ids.rest_id:
        raise DatasetError(
            f'{where} has {found!r} as the number of all pixels that do not show its class, but '
            f'decode_head.rest_id is {ids.rest_id!r}. Set decode_head.rest_id={found!r}, or '
            'metainfo.rest_id to what label maps hold'
        )


def _check_loader(dataset: BaseDataset, loader: Any, ids: LabelIds, where: str) -> None:
    """Refuse a loader whose numbers are bytes where there are more, or ignore another one."""
    reduces = getattr(dataset, 'reduce_zero_label', False)
    relabelled = 'labelled_classes' in getattr(dataset, 'metainfo', {})
    kind, keeps = type(loader).__name__, isinstance(loader, LoadLabelMap)
    remedy = f"Use dict(type='LoadLabelMap', ignore_index={ids.ignore_index})"
    if ids.num_classes > IGNORED_8_BITS and not keeps:
        raise DatasetError(
            f'{where} has {ids.num_classes} classes, but its pipeline reads label maps with '
            f'{kind}, which makes bytes of their numbers, so that 256 becomes 0. {remedy}; '
            'label maps are files of 16 bits'
        )
    if ids.num_classes == IGNORED_8_BITS == ids.ignore_index and reduces:
        raise DatasetError(
            f'{where} has 255 classes and reduce_zero_label=True, so that the last class has the '
            "number 255 in the files, which is also ignored. Use dict(type='LoadLabelMap', "
            'ignore_index=65535) and set decode_head.ignore_index=65535'
        )
    found = loader.ignore_index if keeps else IGNORED_8_BITS
    if (keeps or reduces) and not relabelled and found not in (ids.ignore_index, ids.rest_id):
        setting = 'ignore_index' if keeps else 'reduce_zero_label'
        raise DatasetError(
            f'{where}: {kind} gives pixels that do not count the number {found} ({setting}), but '
            f'decode_head.ignore_index is {ids.ignore_index}. {remedy}'
        )


def _check_fill(transform: Any, ids: LabelIds, where: str) -> None:
    """What a transform puts where there is no image has to be ignored, or meant."""
    key, found = _find_fill(transform)
    if found is None or found == ids.ignore_index:
        return
    if key == 'seg_fill_in' and not ids.find_unknown(np.array([found])).any():
        return  # a class, such as the background, that was chosen; by default nothing is filled in
    kind = type(transform).__name__
    raise DatasetError(
        f'{where}: {kind} uses the number {found} ({key}) for pixels without a label, but '
        f'decode_head.ignore_index is {ids.ignore_index}. Set {key} to {ids.ignore_index} in {kind}'
    )


def _find_fill(transform: Any) -> Tuple[str, Any]:
    """The setting of a transform for label maps where there is no image, and its value."""
    pad_val = getattr(transform, 'pad_val', None)
    if isinstance(pad_val, dict):
        return "pad_val['seg']", pad_val.get('seg', IGNORED_8_BITS)  # as Pad itself
    if getattr(transform, 'cat_max_ratio', 1.0) < 1:
        return 'ignore_index', getattr(transform, 'ignore_index', None)
    for key in ('seg_fill_in', 'seg_pad_val'):
        if getattr(transform, key, None) is not None:
            return key, getattr(transform, key)
    return '', None
