"""What a tensor from a file must be before anybody computes with it."""

from typing import Any, Mapping, Optional

import torch
from torch import Tensor

__all__ = ['NonFinitePromptsError', 'check_finite', 'count_non_finite', 'find_tensor_problem']


class NonFinitePromptsError(ValueError):
    """Prompts that are NaN or infinite, which no checkpoint should be overwritten with."""


#: What is cast to a model's own type without anybody noticing.
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def find_tensor_problem(value: Any, like: Tensor, any_shape: bool = False) -> Optional[str]:
    """Say why a value cannot be copied into a tensor of a model.

    torch itself copies integers, and the real parts of complex numbers, without a word.

    Args:
        value: From a file.
        like: The tensor that it is meant for; it may be on the meta device.
        any_shape: Whether the shapes may differ. Defaults to False.

    Returns:
        What was expected and what was found; None if the value can be copied, with another
        precision at most.
    """
    kind = 'floating-point numbers' if like.is_floating_point() else f'{like.dtype}'
    expected = f'expected a dense tensor of {kind}, found'
    if not isinstance(value, Tensor):
        return f'{expected} a {type(value).__name__}'
    if value.is_meta:
        return f'{expected} one without data (meta)'
    if value.layout is not torch.strided:
        return f'{expected} {value.layout}'
    if value.dtype not in (_FLOATS if like.is_floating_point() else (like.dtype,)):
        return f'{expected} {value.dtype}'
    if not any_shape and value.shape != like.shape:
        return f'expected shape {tuple(like.shape)}, found {tuple(value.shape)}'
    return None


def count_non_finite(value: Tensor) -> int:
    """How many numbers of a dense tensor are NaN or infinite; finite ones take no memory."""
    if value.is_floating_point() and value.numel() > 0:
        extremes = torch.stack(torch.aminmax(value.detach()))  # NaN if anything is
        if torch.isfinite(extremes).all():
            return 0
    return int((~torch.isfinite(value)).sum())


def check_finite(state_dict: Mapping[str, Tensor], where: str) -> None:
    """Refuse to save NaN and infinity.

    Raises:
        NonFinitePromptsError: With the first tensor that has any, which is in ``where``.
    """
    for key, value in state_dict.items():
        count = count_non_finite(value)
        if count:
            raise NonFinitePromptsError(
                f'{where}.{key}: expected finite numbers, found {count} of {value.numel()} that '
                'are NaN or infinite. Nothing was saved: go on from an earlier checkpoint, with a '
                'lower learning rate, or bfloat16 in place of float16'
            )
