"""Settings that decode heads share: class names and the numbers in label maps."""

from typing import Any, Mapping, Optional, Sequence

from ...label_ids import LabelIds, resolve_label_ids
from ..prompts.semantic import resolve_class_names

__all__ = ['check_num_classes', 'find_class_names', 'find_label_ids', 'refuse_settings']

_NAMING = ('class_names', 'dataset', 'classes')
_ONE_CLASS = (
    'num_classes=1 with rest_id is one class against the rest, and its score is compared with '
    'that of the rest. Leave it out'
)
#: Of other heads of mmseg, which people bring along, or are told to use.
_REMEDIES = dict(out_channels=_ONE_CLASS, threshold=_ONE_CLASS)


def refuse_settings(where: str, settings: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse settings that a part of the model does not have.

    Args:
        where: Whose settings, such as ``'decode_head (SSPromptHead)'``.
        settings: Those that are too many.
        known: Those that there are.

    Raises:
        ValueError: If there is any, with what to do instead.
    """
    for key, value in settings.items():
        remedy = _REMEDIES.get(key, f'Expected some of {", ".join(known)}')
        raise ValueError(f'{where} has no setting {key!r}, found {key}={value!r}. {remedy}')


def find_class_names(semantic_prompts: Mapping[str, Any]) -> Optional[Sequence[str]]:
    """The class names in the config of semantic prompts; None if it does not say them."""
    naming = {key: semantic_prompts.get(key) for key in _NAMING}
    if naming['class_names'] is None and naming['dataset'] is None:
        return None
    return resolve_class_names(**naming)


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
    if class_names is not None:
        check_num_classes(num_classes, class_names)
    return resolve_label_ids(num_classes, ignore_index, rest_id)


def check_num_classes(num_classes: int, class_names: Sequence[str]) -> None:
    """Compare the number of classes with their names.

    Raises:
        ValueError: If they do not agree.
    """
    if num_classes != len(class_names):
        raise ValueError(
            f'decode_head.num_classes is {num_classes}, but there are {len(class_names)} class '
            f'names: {list(class_names)}. Set num_classes to the number of class names, or leave '
            'it out'
        )
