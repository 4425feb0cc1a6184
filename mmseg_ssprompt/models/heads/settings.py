"""Class names and numbers of classes in the config of a decode head."""

from typing import Any, Mapping, Optional, Sequence, Tuple

from mmseg.registry import DATASETS

from ...label_ids import LabelIds, resolve_label_ids
from ...readable_names import find_thing_classes
from ..prompts.semantic import resolve_class_names

__all__ = ['find_class_names', 'find_label_ids', 'find_things']


def find_class_names(semantic_prompts: Mapping[str, Any]) -> Optional[Sequence[str]]:
    """The class names in the config of semantic prompts; None if it does not say them."""
    names, dataset = (semantic_prompts.get(key) for key in ('class_names', 'dataset'))
    if names is None and dataset is None:
        return None
    return resolve_class_names(names, dataset, semantic_prompts.get('classes'))


def find_label_ids(
    num_classes: Optional[int],
    class_names: Optional[Sequence[str]],
    ignore_index: Optional[int],
    rest_id: Optional[int],
) -> LabelIds:
    """The numbers in label maps, of the settings of a head.

    Raises:
        ValueError: If neither ``num_classes`` nor class names are there, or settings contradict
            each other.
    """
    if num_classes is None:
        if class_names is None:
            raise ValueError(
                'decode_head.num_classes: expected the number of classes, found neither it nor '
                'class names, which are in decode_head.semantic_prompts as class_names or dataset'
            )
        num_classes = len(class_names)
    elif class_names is not None and num_classes != len(class_names):
        raise ValueError(
            f'decode_head.num_classes is {num_classes}, but there are {len(class_names)} class '
            f'names: {list(class_names)}. Set num_classes to the number of class names, or leave '
            'it out'
        )
    return resolve_label_ids(num_classes, ignore_index, rest_id)


def find_things(
    thing_classes: Optional[Sequence[str]],
    class_names: Sequence[str],
    semantic_prompts: Mapping[str, Any],
) -> Optional[Tuple[int, ...]]:
    """The numbers of the classes of which objects are told apart, in the order of the classes.

    Args:
        thing_classes: Their names, among the class names or the names that the data set itself has
            for them. None: what is known of the data set.
        class_names: All C names.
        semantic_prompts: Config of the semantic prompts, which may have the names of a data set.

    Returns:
        None if it is not known which classes are things.

    Raises:
        ValueError: If ``thing_classes`` are not names of classes.
    """
    dataset, own = semantic_prompts.get('dataset'), tuple(class_names)
    if dataset is not None and semantic_prompts.get('class_names') is None:
        # The class names are those of the data set, which are written as people do.
        own = tuple(semantic_prompts.get('classes') or DATASETS.get(dataset).METAINFO['classes'])
        if thing_classes is None:
            known = find_thing_classes(dataset)
            thing_classes = None if known is None else [name for name in known if name in own]
    if thing_classes is None:
        return None
    names = [*own, *class_names]
    if isinstance(thing_classes, str) or not all(name in names for name in thing_classes):
        raise ValueError(
            'decode_head.thing_classes: expected a list of class names, some of '
            f'{list(class_names)}, found {thing_classes!r}'
        )
    pairs = enumerate(zip(own, class_names))
    return tuple(i for i, pair in pairs if any(name in thing_classes for name in pair))
