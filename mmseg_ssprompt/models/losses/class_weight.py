"""Weights of classes in a loss, as mmseg has them: ``class_weight``."""

from typing import Any, Optional, Tuple

import numpy as np
from mmseg.models.losses.utils import get_class_weight

from ...plain import is_number

__all__ = ['check_class_weight']


def check_class_weight(
    class_weight: Any, count: int, what: str = 'one number for each class'
) -> Optional[Tuple[float, ...]]:
    """Read the weights of classes.

    Args:
        class_weight: A list of numbers; or a file of them, ``.npy``, ``.json``, ``.yaml`` or
            ``.pkl``, as in mmseg; or None.
        count: How many numbers are expected.
        what: What they stand for, for the error.

    Raises:
        ValueError: If these are not as many numbers, finite and not negative, or all are zero.
    """
    if class_weight is None:
        return None
    weights = get_class_weight(class_weight) if isinstance(class_weight, str) else class_weight
    weights = weights.tolist() if isinstance(weights, np.ndarray) else weights
    fits = isinstance(weights, (list, tuple)) and len(weights) == count
    wrong = fits and {i: w for i, w in enumerate(weights) if not is_number(w) or w < 0}
    if not fits or wrong or not any(weights):
        raise ValueError(
            f'decode_head.loss_decode.class_weight: expected a list of length {count}, {what}, '
            f'finite, not negative and not all 0, found {wrong or weights!r}'
        )
    return tuple(float(weight) for weight in weights)
