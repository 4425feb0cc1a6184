"""A data set under other class names than its own."""

from typing import Any, List, Mapping, Sequence

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .checks import DatasetError

__all__ = ['relabel_dataset']

_IGNORED = 255


@DATASETS.register_module(name='RelabelledDataset')
def relabel_dataset(
    source: str,
    classes: Sequence[str],
    label_map: Mapping[int, int],
    palette: List[List[int]],
    lazy_init: bool = False,
    **settings: Any,
) -> BaseSegDataset:
    """Build a data set whose label maps are turned to other classes as they are loaded.

    Args:
        source: Registered type of a data set of mmseg.
        classes: The C new class names.
        label_map: New ids by the data set's. Those that are not among them become 255.
        palette: (C, 3), colours from 0 to 255.
        lazy_init: Whether to read its list of files later. Defaults to False.
        **settings: All else that the data set takes.

    Returns:
        The data set; ``metainfo['labelled_classes']`` are the names that label maps can show.

    Raises:
        DatasetError: If it loads no label maps, or a new id is none of a class.
    """
    built = DATASETS.build(dict(settings, type=source, lazy_init=True))
    if not isinstance(built, BaseSegDataset):
        raise DatasetError(
            f'other class names need label maps that are loaded from files: expected a data set '
            f'of mmseg, found {type(built).__name__}. Give the config without "_cached"'
        )
    wrong = {old: new for old, new in label_map.items() if not 0 <= new < len(classes)}
    if wrong:
        raise DatasetError(
            f'label_map: expected new ids from 0 to {len(classes) - 1}, found {wrong}'
        )
    # Of a data set with some of its classes only, ids in the files have others in the data set.
    own = built.label_map or {index: index for index in range(len(built.metainfo['classes']))}
    built.label_map = {file: label_map.get(index, _IGNORED) for file, index in own.items()}
    labelled = [classes[new] for new in sorted(set(label_map.values()))]
    built._metainfo = dict(
        classes=tuple(classes),
        palette=palette,
        labelled_classes=labelled,
        label_map=built.label_map,
    )
    if not lazy_init:
        built.full_init()
    return built
