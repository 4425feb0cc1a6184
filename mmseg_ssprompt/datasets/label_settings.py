"""Whether a data set's pipeline keeps to the numbers that a model has label maps hold."""

from typing import Any, List, Tuple

import numpy as np
from mmcv.transforms import LoadAnnotations as AnyLoader
from mmcv.transforms import Resize
from mmengine.dataset import BaseDataset, Compose

from ..label_ids import IGNORED_8_BITS, IGNORED_16_BITS, LabelIds
from .checks import DatasetError
from .label_maps import LoadLabelMap, ResizeWithLabels
from .steps import each_step

__all__ = ['check_label_settings']

#: What transforms do with a number, by the setting that has it.
_FILLS = 'gives pixels outside of the image'
_EFFECTS = dict(ignore_index='takes for ignored', seg_fill_in='gives pixels that it cuts out')
_LOADER = "dict(type='LoadLabelMap', ignore_index=65535)"


def check_label_settings(dataset: BaseDataset, label_ids: LabelIds, name: str) -> None:
    """Refuse a data set whose settings would change or mistake the numbers in label maps.

    Nothing is read: the data set's own settings and those of its transforms are looked at.

    Args:
        dataset: A data set that reads files, without wrappers.
        label_ids: The numbers that the model's head expects.
        name: What it is for, such as ``'training'``.

    Raises:
        DatasetError: With the transform or the setting, what was expected and found, and what to
            set.
    """
    where = f'the {name} data set {type(dataset).__name__}'
    _check_rest(dataset, label_ids, where)
    _check_subset(dataset, label_ids, where)
    loader = None
    for transform in _list_transforms(dataset):
        if isinstance(transform, AnyLoader):
            loader = transform
            _check_loader(dataset, loader, label_ids, where)
        elif loader is not None:
            _check_resize(transform, loader, where)
            _check_fill(transform, label_ids, where)


def _list_transforms(dataset: BaseDataset) -> List[Any]:
    pipeline = getattr(dataset, 'pipeline', None) or []
    if hasattr(dataset, 'recipe'):  # of embedded samples, which a pipeline has made before
        pipeline = Compose(dataset.recipe.dataset.get('pipeline') or [])
    return [step.transform for step in each_step(pipeline)]


def _check_rest(dataset: BaseDataset, ids: LabelIds, where: str) -> None:
    """Few-shot draws read the number of the rest from the data set, without a model."""
    found = getattr(dataset, 'metainfo', {}).get('rest_id')
    if found is not None and found != ids.rest_id:
        raise DatasetError(
            f'{where}: metainfo.rest_id is {found!r}, but decode_head.rest_id is {ids.rest_id!r}. '
            'Give both the number that label maps hold for the rest'
        )


def _check_subset(dataset: BaseDataset, ids: LabelIds, where: str) -> None:
    """Refuse what mmseg makes of a single class of a data set: it has 0, all others 255."""
    if 'labelled_classes' in getattr(dataset, 'metainfo', {}):
        return
    # Elsewhere a label_map is the user's own.
    is_registered = getattr(type(dataset), 'METAINFO', {}).get('classes')
    if is_registered and getattr(dataset, 'label_map', None) and ids.rest_id == 0:
        raise DatasetError(
            f'{where} has one class of a registered data set, so that its label maps get 0 for '
            'the class and 255 for all others, but decode_head.rest_id is 0, the number of the '
            'rest. Set decode_head.rest_id=255'
        )


def _check_loader(dataset: BaseDataset, loader: Any, ids: LabelIds, where: str) -> None:
    reduces = getattr(dataset, 'reduce_zero_label', False)
    relabelled = 'labelled_classes' in getattr(dataset, 'metainfo', {})
    kind = type(loader).__name__
    if ids.num_classes > IGNORED_8_BITS and not isinstance(loader, LoadLabelMap):
        raise DatasetError(
            f'{where} has {ids.num_classes} classes, but its pipeline reads label maps with '
            f'{kind}, which makes bytes of their numbers, so that 256 becomes 0. Use {_LOADER}; '
            'label maps are files of 16 bits, in which 65535 is ignored'
        )
    if ids.num_classes == IGNORED_8_BITS and reduces and ids.ignore_index == IGNORED_8_BITS:
        raise DatasetError(
            f'{where} has 255 classes and reduce_zero_label=True, so that the last class has the '
            f'number 255 in the files, which is also ignored. Use {_LOADER} and set '
            'decode_head.ignore_index=65535'
        )
    found, used = IGNORED_8_BITS, reduces and not relabelled
    if isinstance(loader, LoadLabelMap) and not relabelled:
        found, used = loader.ignore_index, True
    if used and found not in (ids.ignore_index, ids.rest_id):
        setting = 'ignore_index' if isinstance(loader, LoadLabelMap) else 'reduce_zero_label'
        raise DatasetError(
            f'{where}: {kind} gives pixels that do not count the number {found} ({setting}), but '
            f'decode_head.ignore_index is {ids.ignore_index}. Use '
            f"dict(type='LoadLabelMap', ignore_index={ids.ignore_index})"
        )


def _check_resize(transform: Any, loader: Any, where: str) -> None:
    resize = getattr(transform, 'resize', transform)  # of RandomResize
    is_pillow = isinstance(resize, Resize) and resize.backend == 'pillow'
    is_wide = getattr(loader, 'ignore_index', 0) == IGNORED_16_BITS
    if is_wide and is_pillow and not isinstance(resize, ResizeWithLabels):
        raise DatasetError(
            f"{where}: Resize(backend='pillow') cannot resize label maps of 16 bits. Use "
            "dict(type='ResizeWithLabels', ...) with the same arguments"
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
        f'{where}: {kind} {_EFFECTS.get(key, _FILLS)} the number {found} ({key}), but '
        f'decode_head.ignore_index, the number of pixels that do not count, is '
        f'{ids.ignore_index}. Set {key} to {ids.ignore_index} in {kind}'
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
