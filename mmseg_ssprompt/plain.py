"""Plain values: their schemas, the first difference between two, and their copies as JSON."""

import contextlib
import math
import numbers
import reprlib
from collections import OrderedDict
from typing import Any, Callable, Collection, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from .module_metadata import set_module_metadata

__all__ = [
    'COUNT',
    'DICT',
    'NAMES',
    'Kind',
    'NotPlainError',
    'find_difference',
    'find_problem',
    'from_json',
    'is_number',
    'shorten',
    'to_json',
    'to_plain',
]


_PLAIN = (type(None), bool, int, float, str, Tensor)  # what every torch loads safely


class NotPlainError(ValueError):
    """A value that a checkpoint of tensors and plain values has no place for."""


class Kind(NamedTuple):
    """What is expected of a value: its name in words, and whether a value is of this kind."""

    name: str
    fits: Callable[[Any], bool]

    def or_none(self) -> 'Kind':
        """This kind, or None."""
        return Kind(f'{self.name} or None', lambda value: value is None or self.fits(value))


DICT = Kind('a dict', lambda value: isinstance(value, Mapping))
COUNT = Kind('a number from 0 on', lambda value: type(value) is int and value >= 0)
NAMES = Kind(
    'a list of names',
    lambda value: isinstance(value, (list, tuple)) and all(isinstance(x, str) for x in value),
)


def is_number(value: Any) -> bool:
    """Whether a value of a config is a finite number, which True and False are not."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def find_problem(
    value: Any, kinds: Mapping[str, Kind], needed: Collection[str] = ()
) -> Optional[str]:
    """Say what in a dict from a file is not of the kind that is expected there.

    Args:
        value: Any value.
        kinds: What is expected of the entries by their paths, such as ``'meta.classes'``, those
            that hold others first.
        needed: Those that must be there. Defaults to none.

    Returns:
        The path to the first that is not, what was expected and what was found; None if all are.
    """
    if not DICT.fits(value):
        return f'expected {DICT.name}, found {shorten(value)}'
    for path, kind in kinds.items():
        *holders, name = path.split('.')
        holder = value
        for each in holders:
            holder = holder.get(each) or {}
        if name not in holder and path in needed:
            return f'{path}: expected {kind.name}, found nothing'
        if name in holder and not kind.fits(holder[name]):
            return f'{path}: expected {kind.name}, found {shorten(holder[name])}'
    return None


def find_difference(expected: Any, found: Any, where: str = '') -> Optional[Tuple[str, Any, Any]]:
    """The first entry in which two values differ.

    Args:
        expected: Dicts and lists of plain values.
        found: What is compared with it.
        where: The path to both. Defaults to '': the names of their entries suffice.

    Returns:
        The path to the entry, such as ``'a.b[2]'``, and its two values, where None also stands for
        an entry of a dict that is not there; None if there is no difference.
    """
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        names = dict.fromkeys([*expected, *found])
        dot = f'{where}.' if where else ''
        pairs = [(f'{dot}{name}', expected.get(name), found.get(name)) for name in names]
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = [(f'{where}[{i}]', *pair) for i, pair in enumerate(zip(expected, found))]
    else:
        return None if expected == found else (where, expected, found)
    differences = (find_difference(one, other, name) for name, one, other in pairs)
    return next(filter(None, differences), None)


def shorten(value: Any) -> str:
    """A value in a few words, for errors, whatever it is."""
    return _SHORT.repr(value)


class _Repr(reprlib.Repr):
    def repr_Tensor(self, value: Tensor, level: int) -> str:
        return f'a tensor of {value.dtype}'

    repr_Parameter = repr_Tensor


_SHORT = _Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_TUPLE, _ITEMS = '__tuple__', '__items__'


def to_json(value: Any, where: str = 'metainfo') -> Any:
    """Copy plain values into what JSON has: ``from_json(to_json(x)) == x``.

    Args:
        value: Dicts, lists and tuples of numbers, strings, booleans and None. Numpy's scalars
            become Python's, and the subclasses of tuples (``torch.Size``) tuples.
        where: What is being converted, for the error.

    Raises:
        ValueError: If something is not one of these, with the path to it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, tuple):
        return {_TUPLE: [to_json(x, f'{where}[{i}]') for i, x in enumerate(value)]}
    if isinstance(value, list):
        return [to_json(x, f'{where}[{i}]') for i, x in enumerate(value)]
    if isinstance(value, dict):
        pairs = [(to_json(k, where), to_json(v, f'{where}.{k}')) for k, v in value.items()]
        named = all(isinstance(k, str) for k in value) and set(value) not in ({_TUPLE}, {_ITEMS})
        return dict(pairs) if named else {_ITEMS: pairs}
    raise ValueError(
        f'{where}: expected plain values (numbers, texts, lists, tuples, dicts), found a '
        f'{type(value).__name__}'
    )


def from_json(value: Any) -> Any:
    """What :func:`to_json` was given.

    Args:
        value: What ``json.loads`` returned.

    Raises:
        ValueError: If :func:`to_json` does not write such values.
    """
    if isinstance(value, list):
        return [from_json(x) for x in value]
    if not isinstance(value, dict):
        return value
    try:
        if set(value) == {_TUPLE}:
            return tuple(map(from_json, value[_TUPLE]))
        if set(value) == {_ITEMS}:
            return dict(map(from_json, value[_ITEMS]))
    except TypeError as error:  # no lists, or keys that cannot be any
        raise ValueError(f'expected what to_json returns, found {shorten(value)}') from error
    return {k: from_json(v) for k, v in value.items()}


def to_plain(value: Any, where: str = 'value') -> Any:
    """Copy nested containers, with numpy's scalars and arrays as numbers and tensors.

    Args:
        value: Dicts, lists and tuples of tensors, numbers, strings and numpy values.
        where: What is being converted, for the error.

    Raises:
        NotPlainError: If something is not one of these, with the path to it.
    """
    if isinstance(value, np.generic):
        value = value.item()  # may be another object: of dates, of long doubles
    if type(value) in _PLAIN or isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray):
        with contextlib.suppress(TypeError, ValueError):  # types that torch does not have
            return torch.from_numpy(value.copy())
    if isinstance(value, dict):  # also mmengine's ConfigDict
        pairs = [(to_plain(k, where), to_plain(v, f'{where}.{k}')) for k, v in value.items()]
        if not isinstance(value, OrderedDict):
            return dict(pairs)
        ordered = OrderedDict(pairs)
        if hasattr(value, '_metadata'):  # of a state dict, which torch keeps beside its tensors
            set_module_metadata(ordered, to_plain(value._metadata, f'{where}._metadata'))
        return ordered
    if isinstance(value, (list, tuple)):
        entries = [to_plain(v, f'{where}[{i}]') for i, v in enumerate(value)]
        return tuple(entries) if isinstance(value, tuple) else entries
    raise NotPlainError(
        f'checkpoints hold tensors and plain values only, so that they load without running code, '
        f'but {where} is a {type(value).__module__}.{type(value).__qualname__}'
    )
