"""Class names and numbers of classes in the config of a decode head."""

from typing import Any, Mapping, Optional, Sequence

from ...label_ids import LabelIds, resolve_label_ids
from ..prompts.semantic import resolve_class_names

__all__ = ['find_class_names', 'find_label_ids']


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
