"""Settings that several base models have, looked up in one way."""

from typing import Mapping, Optional, TypeVar

import torch

__all__ = ['find_autocast_dtype', 'find_variant']

_AUTOCAST_DTYPES = {None: None, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
_Variant = TypeVar('_Variant')


def find_variant(variants: Mapping[str, _Variant], name: str, base_model: str) -> _Variant:
    """Look a variant of a base model up by name.

    Args:
        variants: All variants by their names.
        name: What a config names.
        base_model: Name of the base model, for the error, such as ``'SAM'``.

    Raises:
        ValueError: If ``name`` is not a key of ``variants``.
    """
    if name not in variants:
        raise ValueError(
            f'unknown {base_model} variant {name!r}: expected one of {sorted(variants)}'
        )
    return variants[name]


def find_autocast_dtype(dtype: Optional[str]) -> Optional[torch.dtype]:
    """The type in which matrices are multiplied; None stands for that of the surroundings.

    Raises:
        ValueError: If ``dtype`` is not None, ``'bfloat16'`` or ``'float16'``.
    """
    if dtype not in _AUTOCAST_DTYPES:
        raise ValueError(f'dtype must be one of {tuple(_AUTOCAST_DTYPES)}, got {dtype!r}')
    return _AUTOCAST_DTYPES[dtype]
