"""What kinds of values are expected in a file, and the first that is of another."""

import math
import numbers
import reprlib
from typing import Any, Callable, Mapping, NamedTuple, Optional

from torch import Tensor

__all__ = [
    *('BOOLEAN', 'COUNT', 'DICT', 'LIST', 'TEXT', 'Kind'),
    *('find_misfit', 'is_number', 'is_plain', 'shorten'),
]


class Kind(NamedTuple):
    """What is expected of a value.

    Attributes:
        name: In words, for errors.
        fits: Whether a value, without what is in it, is of this kind.
        entries: The kinds of some entries of a dict, by key. They may be missing.
        each: The kind of all other entries of a dict, and of those of a list. None: any.
    """

    name: str
    fits: Callable[[Any], bool]
    entries: Mapping[str, Any] = {}
    each: Optional[Any] = None

    def of(self, each: Optional['Kind'] = None, **entries: 'Kind') -> 'Kind':
        """This kind with more said of what is in it."""
        return self._replace(each=each, entries=entries)

    def or_none(self) -> 'Kind':
        """This kind, or None."""
        fits = self.fits
        return self._replace(name=f'{self.name} or None', fits=lambda x: x is None or fits(x))


DICT = Kind('a dict', lambda x: isinstance(x, Mapping))
LIST = Kind('a list', lambda x: isinstance(x, (list, tuple)))
TEXT = Kind('a text', lambda x: isinstance(x, str))
BOOLEAN = Kind('True or False', lambda x: isinstance(x, bool))
COUNT = Kind('a number from 0 on', lambda x: type(x) is int and x >= 0)


def is_number(value: Any) -> bool:
    """Whether a value of a config is a finite number, which True and False are not."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def find_misfit(value: Any, kind: Kind, where: str = '') -> Optional[str]:
    """Say what in a value from a file is not of the kind that is expected there.

    Args:
        value: Any value.
        kind: What is expected.
        where: The path to the value. Defaults to '': the names of its entries suffice.

    Returns:
        The path to the first that is not, what was expected and what was found; None if all are.
    """
    if not kind.fits(value):
        return f'{where}{": " if where else ""}expected {kind.name}, found {shorten(value)}'
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        pairs = list(enumerate(value)) if isinstance(value, (list, tuple)) else []
    for key, entry in pairs:
        expected = kind.entries.get(key, kind.each)
        if expected is not None:
            misfit = find_misfit(entry, expected, f'{where}.{key}' if where else str(key))
            if misfit is not None:
                return misfit
    return None


def is_plain(value: Any) -> bool:
    """Whether a value is made of dicts, lists, numbers, texts, booleans and None alone."""
    if isinstance(value, Mapping):
        return all(is_plain(key) and is_plain(entry) for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def shorten(value: Any) -> str:
    """A value in a few words, for errors, whatever it is."""
    return _SHORT.repr(value)


class _Repr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200

    def repr_Tensor(self, value: Tensor, level: int) -> str:
        return f'a tensor of {value.dtype}'

    repr_Parameter = repr_Tensor


_SHORT = _Repr()
