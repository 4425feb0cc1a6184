"""Label maps of 16 bits, masks of other numbers or classes, and images without label maps."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import mmcv
import numpy as np
from mmengine import fileio
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations, Resize
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image

from ..label_ids import IGNORED_8_BITS, IGNORED_16_BITS, resolve_label_ids
from .checks import DatasetError, check_label_shape

__all__ = [
    'LoadLabelMap',
    'ResizeWithLabels',
    'allow_unlabelled',
    'relabel_dataset',
    'replace_loaders',
]


@TRANSFORMS.register_module()
class LoadLabelMap(LoadAnnotations):
    """mmseg's ``LoadAnnotations`` for more than 255 classes, and for masks of other numbers.

    Numbers are computed without going through bytes.

    Args:
        ignore_index: The number of pixels that do not count, in the files and in what is loaded:
            255, or 65535 for more than 255 classes. Defaults to 255.
        label_map: New numbers by those in the files, such as ``{0: 0, 255: 1}`` for masks of 0 and
            255; others stay as they are. It comes before ``reduce_zero_label`` and the data set's
            own ``label_map``. Defaults to None.
        allow_missing: Whether an image without a label map is passed on without one, which is for
            predictions. Defaults to False.
        reduce_zero_label: Whether 0 is ignored and 1 is the first class. Defaults to None: as the
            data set says.
        backend_args: As for ``LoadAnnotations``.
        imdecode_backend: As for ``LoadAnnotations``. Defaults to 'pillow'.

    Raises:
        ValueError: If ``ignore_index`` or ``label_map`` holds what is no number of a label map.
    """

    def __init__(
        self,
        ignore_index: int = IGNORED_8_BITS,
        label_map: Optional[Mapping[int, int]] = None,
        allow_missing: bool = False,
        reduce_zero_label: Optional[bool] = None,
        backend_args: Optional[Dict[str, Any]] = None,
        imdecode_backend: str = 'pillow',
    ) -> None:
        super().__init__(backend_args=backend_args, imdecode_backend=imdecode_backend)
        self.reduce_zero_label = reduce_zero_label
        self.ignore_index = _check_number('ignore_index', ignore_index)
        self.label_map = {
            _check_number('label_map', old): _check_number('label_map', new)
            for old, new in (label_map or {}).items()
        }
        self.allow_missing = allow_missing

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Load ``gt_seg_map`` (H, W), uint8, or uint16 where numbers need it.

        Raises:
            DatasetError: If the file holds what is no number of a label map, or more than 8 bits
                where 255 is ignored.
        """
        path = results.get('seg_map_path')
        if path is None and not self.allow_missing:
            raise DatasetError(
                f'image {str(results.get("img_path"))!r}: expected the path of a label map, found '
                'none. Name the folder of the label maps in data_prefix.seg_map_path; pictures '
                'without label maps are for predictions, with LoadLabelMap(allow_missing=True)'
            )
        try:
            content = None if path is None else fileio.get(path, backend_args=self.backend_args)
        except FileNotFoundError:
            if not self.allow_missing:
                raise
            content = None
        if content is not None:
            results['gt_seg_map'] = self._read(content, results)
            results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def _read(self, content: bytes, results: Mapping[str, Any]) -> np.ndarray:
        path = results['seg_map_path']
        labels = mmcv.imfrombytes(content, flag='unchanged', backend=self.imdecode_backend)
        labels = _check_labels(labels, path)
        labels = _rename(labels.astype(np.int32), self.label_map)
        reduces = bool(results.get('reduce_zero_label', False))
        if self.reduce_zero_label not in (None, reduces):
            raise DatasetError(
                f'LoadLabelMap.reduce_zero_label is {self.reduce_zero_label}, but that of the data '
                f'set is {reduces}. Set it in the data set, and leave it out of LoadLabelMap'
            )
        if reduces:
            void = (labels == 0) | (labels == self.ignore_index)
            labels = np.where(void, self.ignore_index, labels - 1)
        own = results.get('label_map') or {}
        labels = _rename(labels, own)
        last = max([self.ignore_index, *own.values(), *self.label_map.values()])
        if last > IGNORED_8_BITS:
            return labels.astype(np.uint16)
        if labels.max() > IGNORED_8_BITS:
            raise DatasetError(
                f'label map {str(path)!r}: expected numbers from 0 to 255, found '
                f'{np.unique(labels[labels > IGNORED_8_BITS])[:10].tolist()}. For more than 255 '
                "classes, load label maps with dict(type='LoadLabelMap', ignore_index=65535)"
            )
        return labels.astype(np.uint8)


def _check_number(key: str, value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if type(number) is not int or not 0 <= number <= IGNORED_16_BITS:
        raise ValueError(
            f'LoadLabelMap.{key}: expected whole numbers from 0 to {IGNORED_16_BITS}, found '
            f'{value!r}'
        )
    return int(number)


def _check_labels(labels: Optional[np.ndarray], path: str) -> np.ndarray:
    """Numbers (H, W), or an error that says what a file holds."""
    if labels is None:
        raise DatasetError(f'label map {str(path)!r}: expected a picture, found none in the file')
    if labels.ndim == 3 and labels.shape[2] == 1:
        labels = labels[:, :, 0]
    if labels.ndim != 2:
        check_label_shape(dict(gt_seg_map=labels, seg_map_path=path))
    if labels.dtype == bool:
        return labels
    with np.errstate(invalid='ignore'):  # NaN is no integer
        is_number = (labels >= 0) & (labels <= IGNORED_16_BITS) & (labels == np.floor(labels))
    if not is_number.all():
        raise DatasetError(
            f'label map {str(path)!r}: expected whole numbers from 0 to {IGNORED_16_BITS}, found '
            f'{np.unique(labels[~is_number])[:10].tolist()} ({labels.dtype})'
        )
    return labels


def _rename(labels: np.ndarray, label_map: Mapping[int, int]) -> np.ndarray:
    """Replace numbers (H, W) int32 by others; numbers without another stay."""
    if not label_map:
        return labels
    table = np.arange(1 + IGNORED_16_BITS, dtype=np.int32)
    table[list(label_map)] = list(label_map.values())
    return np.asarray(table[labels])


@TRANSFORMS.register_module()
class ResizeWithLabels(Resize):
    """mmseg's ``Resize``, whose Pillow backend takes maps of 8 bits only, for 16 bits too.

    Label maps of 16 bits and segments have those. The same places are read in maps of both kinds.
    See ``Resize`` for the arguments.
    """

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Resize image, label map and segments; these keep their type, uint8 or uint16."""
        fields = list(results.get('seg_fields', []))
        wide = {key: results[key] for key in fields if results[key].dtype != np.uint8}
        results['seg_fields'] = [key for key in fields if key not in wide]
        resized = dict(super().transform(results), seg_fields=fields)
        for key, labels in wide.items():
            picture = Image.fromarray(labels.astype(np.int32))
            picture = picture.resize(resized['img_shape'][1::-1], Image.Resampling.NEAREST)
            resized[key] = np.asarray(picture).astype(labels.dtype)
        return resized


def replace_loaders(transforms: Any, **settings: Any) -> Any:
    """A copy of configs of transforms with ``LoadLabelMap`` in place of ``LoadAnnotations``.

    Args:
        transforms: The config of a pipeline, of a transform, or lists of them, nested as for
            test-time augmentation.
        **settings: Arguments of the new loaders, and of each ``LoadLabelMap`` that is there.
    """
    if isinstance(transforms, (list, tuple)):
        replaced = [replace_loaders(each, **settings) for each in transforms]
        return replaced if isinstance(transforms, list) else tuple(replaced)
    if not isinstance(transforms, Mapping):
        return transforms
    config = {key: replace_loaders(value, **settings) for key, value in transforms.items()}
    if str(config.get('type')).rpartition('.')[2] in ('LoadAnnotations', 'LoadLabelMap'):
        config.update(settings, type='LoadLabelMap')
    return config


def allow_unlabelled(dataset: Dict[str, Any]) -> None:
    """Let the config of a data set that is predicted have images without annotations, in place."""
    if 'pipeline' in dataset:
        dataset['pipeline'] = replace_loaders(dataset['pipeline'], allow_missing=True)
        _allow_without_segments(dataset['pipeline'])
    prefix = dataset.get('data_prefix')
    if isinstance(prefix, Mapping):
        dataset['data_prefix'] = {key: path for key, path in prefix.items() if path is not None}


def _allow_without_segments(transforms: Any) -> None:
    if isinstance(transforms, (list, tuple)):
        for each in transforms:
            _allow_without_segments(each)
    elif isinstance(transforms, dict):
        _allow_without_segments(list(transforms.values()))
        if str(transforms.get('type')).rpartition('.')[2] == 'LoadSegments':
            transforms['allow_missing'] = True


@DATASETS.register_module(name='RelabelledDataset')
def relabel_dataset(
    source: str,
    classes: Sequence[str],
    label_map: Mapping[int, int],
    palette: List[List[int]],
    rest_id: Optional[int] = None,
    lazy_init: bool = False,
    **settings: Any,
) -> BaseSegDataset:
    """Build a data set whose label maps are turned to other classes as they are loaded.

    Args:
        source: Registered type of a data set of mmseg.
        classes: The C new class names.
        label_map: New numbers by the data set's, of classes and, with one class, of the rest.
            Those that are not among them are ignored.
        palette: (C, 3), colours from 0 to 255.
        rest_id: With one class, the number of the rest, as of the model. Defaults to None.
        lazy_init: Whether to read its list of files later. Defaults to False.
        **settings: All else that the data set takes.

    Returns:
        The data set; ``metainfo['labelled_classes']`` are the names that label maps can show.

    Raises:
        DatasetError: If it loads no label maps, or a new number does not count.
    """
    label_ids = resolve_label_ids(len(classes), rest_id=rest_id)
    if 'pipeline' in settings:  # mmseg's loader makes bytes of the new numbers
        settings['pipeline'] = replace_loaders(settings['pipeline'])
    built = DATASETS.build(dict(settings, type=source, lazy_init=True))
    if not isinstance(built, BaseSegDataset):
        raise DatasetError(
            f'other class names need label maps that are loaded from files: expected a data set '
            f'of mmseg, found {type(built).__name__}. Give the config without "_cached"'
        )
    wrong = {old: new for old, new in label_map.items() if new not in label_ids.counted}
    if wrong:
        raise DatasetError(f'label_map: expected {label_ids.describe()}, found {wrong}')
    # A data set with some of its classes has a label_map already: new ids by those in files.
    known = range(len(built.metainfo['classes']))
    own = built.label_map or {index: index for index in (*known, *label_map)}
    built.label_map = {file: label_map.get(i, label_ids.ignore_index) for file, i in own.items()}
    for index in label_ids.counted:  # what was ignored before, or is no class of the data set
        built.label_map.setdefault(index, label_ids.ignore_index)
    used = set(label_map.values())
    built._metainfo = dict(
        classes=tuple(classes),
        palette=palette,
        labelled_classes=[name for name, i in zip(classes, label_ids.classes) if i in used],
        label_map=built.label_map,
    )
    if not lazy_init:
        built.full_init()
    return built
