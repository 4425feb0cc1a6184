"""Settings that decode heads share, and which settings parts of a model have."""

import difflib
import inspect
from typing import Any, Mapping, Optional, Sequence

from mmseg.registry import MODELS, TASK_UTILS

from ...label_ids import LabelIds, resolve_label_ids
from ...weights.model_weights import walk_parts
from ..prompts.semantic import resolve_class_names

__all__ = [
    'check_num_classes',
    'find_class_names',
    'find_label_ids',
    'refuse_settings',
    'refuse_unknown_settings',
]

_NAMING = ('class_names', 'dataset', 'classes')
_ONE_CLASS = (
    'num_classes=1 with rest_id is one class against the rest, and its score is compared with '
    'that of the rest. Leave it out'
)
#: What to do with settings of other heads of mmseg, which people bring along.
_WEIGHTS = (
    'Leave it out; files of weights are given once for all parts, '
    'model.weights=dict(sam=FILE, clip=FILE), or as checkpoint of a part'
)
_REMEDIES = dict(
    out_channels=_ONE_CLASS, threshold=_ONE_CLASS, init_cfg=_WEIGHTS, pretrained=_WEIGHTS
)


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
        close = difflib.get_close_matches(key, known, 1, 0.7)
        guess = f'Is it {close[0]!r}? ' if close else ''
        remedy = _REMEDIES.get(key, f'{guess}Expected some of {", ".join(known)}')
        raise ValueError(f'{where} has no setting {key!r}, found {key}={value!r}. {remedy}')


def refuse_unknown_settings(model: Mapping[str, Any]) -> None:
    """Refuse settings that parts of a model do not have, and parts that there are not.

    Parts that take any setting refuse the wrong ones themselves.

    Args:
        model: Config of a model, which is not built.

    Raises:
        ValueError: With the dotted name of the part, its settings and what to do.
    """
    for part, cls, name in walk_parts(model, 'model'):
        if any(key.endswith('_cfg') for key in name.split('.')):
            continue  # of layers, which take some of it out
        if cls is None:
            _refuse_type(name, part['type'])
        elif callable(cls):
            _refuse_unknown(f'{name} ({getattr(cls, "__name__", part["type"])})', part, cls)


def _refuse_type(name: str, kind: str) -> None:
    if TASK_UTILS.get(kind) is not None:
        return
    known = sorted({*MODELS.module_dict, *(MODELS.parent or MODELS).module_dict})
    close = difflib.get_close_matches(kind, known, 3, 0.7)
    advice = f'is it {" or ".join(map(repr, close))}?' if close else 'let custom_imports import it'
    raise ValueError(f'{name}.type: there is no part of models {kind!r}: {advice}')


def _refuse_unknown(where: str, part: Mapping[str, Any], cls: Any) -> None:
    parameters = inspect.signature(cls).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    known = (*parameters, 'type', '_scope_')  # the last is mmengine's own
    unknown = {key: value for key, value in part.items() if key not in known}
    refuse_settings(where, unknown, list(parameters))


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
