"""A data set under other class names than its own."""

from typing import Any, List, Mapping, Optional, Sequence

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from ..label_ids import resolve_label_ids
from .checks import DatasetError
from .label_maps import replace_loaders

__all__ = ['relabel_dataset']


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
