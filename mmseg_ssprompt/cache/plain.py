"""Metainfo as JSON and back, with tuples and keys that are no strings."""

from typing import Any, Dict, List

import numpy as np

from .files import CacheError

__all__ = ['from_json', 'to_json']

_TUPLE, _ITEMS = '__tuple__', '__items__'


def to_json(value: Any, where: str = 'metainfo') -> Any:
    """Copy plain values into what JSON has: ``from_json(to_json(x)) == x``.

    Args:
        value: Dicts, lists and tuples of numbers, strings, booleans and None. Numpy's scalars
            become Python's, and the subclasses of tuples (``torch.Size``) tuples.
        where: What is being converted, for the error.

    Raises:
        CacheError: If something is none of these, with the path to it.
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
    raise CacheError(
        f'{where}: expected plain values (numbers, texts, lists, tuples, dicts), found a '
        f'{type(value).__name__}. Leave it out of meta_keys of PackSegInputs, or of metainfo'
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
    if set(value) == {_TUPLE}:
        return tuple(map(from_json, _expect_list(value, _TUPLE)))
    if set(value) == {_ITEMS}:
        pairs = [from_json(pair) for pair in _expect_list(value, _ITEMS)]
        try:
            return dict(pairs)
        except TypeError:  # no pairs, or keys that are lists or dicts
            raise ValueError(f'expected pairs of a key and a value, found {pairs!r}') from None
    return {k: from_json(v) for k, v in value.items()}


def _expect_list(value: Dict[str, Any], name: str) -> List[Any]:
    """The only entry of ``value``."""
    if not isinstance(value[name], list):
        raise ValueError(f'expected a list under {name!r}, found {value[name]!r}')
    return value[name]
