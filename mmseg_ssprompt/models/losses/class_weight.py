"""Weights of classes in a loss, as mmseg has them: ``class_weight``."""

import math
from numbers import Real
from typing import Any, Optional, Sequence, Tuple

import numpy as np
from mmseg.models.losses.utils import get_class_weight

__all__ = ['check_class_weight']


def check_class_weight(
    class_weight: Any,
    num_classes: int,
    class_names: Optional[Sequence[str]] = None,
    with_no_object: bool = True,
) -> Optional[Tuple[float, ...]]:
    """Read the weights of classes, and refuse what cannot be meant.

    Args:
        class_weight: A number for each class; or a file of them, ``.npy``, ``.json``, ``.yaml``
            or ``.pkl``, as in mmseg; or None.
        num_classes: ``C``.
        class_names: For errors. Defaults to None: their numbers.
        with_no_object: Whether a number for "no object" may follow, as in Mask2Former. With one
            class against the rest it may not: people would take it for the rest's.

    Returns:
        The numbers; None if no weights are given.

    Raises:
        ValueError: If it is no list of numbers, has another length, or has one that is negative,
            infinite or NaN, or none above zero, with the classes.
    """
    if class_weight is None:
        return None
    names = [f'class {i}' for i in range(num_classes)] if class_names is None else class_names
    if isinstance(class_weight, str):
        class_weight = get_class_weight(class_weight)
    if isinstance(class_weight, np.ndarray):
        class_weight = class_weight.tolist()
    lengths = [num_classes, num_classes + 1][: 1 + with_no_object]
    expected = f'one for each of the {num_classes} classes {list(names)}'
    if with_no_object:
        expected += ', and perhaps one for "no object" behind them'
    if not isinstance(class_weight, (list, tuple)) or len(class_weight) not in lengths:
        found = f'{len(class_weight)}: ' if isinstance(class_weight, (list, tuple)) else ''
        whole = '. The weight of the whole term is loss_cls_weight' if with_no_object else ''
        raise ValueError(
            f'decode_head.loss_decode.class_weight: expected a list of numbers, {expected}, found '
            f'{found}{class_weight!r}{whole if not found else ""}'
        )
    names = [*names, 'no object']
    wrong = {name: w for name, w in zip(names, class_weight) if not _is_weight(w)}
    if wrong:
        raise ValueError(
            'decode_head.loss_decode.class_weight: expected numbers that are finite and not '
            f'negative, found {wrong}'
        )
    if not any(class_weight[:num_classes]):
        raise ValueError(
            'decode_head.loss_decode.class_weight: expected at least one class with a weight above '
            f'0, found {list(class_weight)} for {list(names)[: len(class_weight)]}'
        )
    return tuple(float(weight) for weight in class_weight)


def _is_weight(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0
