"""How a picture is looked at: what a browser sends, checked before anything is done with it."""

from typing import Any, NamedTuple, Optional, Sequence, Tuple

from ..class_names import check_class_names

__all__ = ['MAX_NAMES', 'Look', 'StudioError', 'check_names', 'check_number', 'check_share']

#: Class names that are taken, and the characters of each.
MAX_NAMES, MAX_LENGTH = 200, 100


class StudioError(ValueError):
    """Something that the studio cannot do; its text is for people, in one sentence or two."""


class Look(NamedTuple):
    """Which prompts are used.

    Attributes:
        spatial: The trust in learned spatial prompts, from 0 (handcrafted) to 1 (learned), the same
            for all; None for that which was learned.
        semantic: The same of semantic prompts.
        names: Class names; None for those that were trained.
    """

    spatial: Optional[float] = None
    semantic: Optional[float] = None
    names: Optional[Tuple[str, ...]] = None

    @classmethod
    def checked(cls, spatial: Any = None, semantic: Any = None, names: Any = None) -> 'Look':
        """A look of values of any kind.

        Args:
            spatial: A number from 0 to 1, or None.
            semantic: The same.
            names: A text with one name a line, a list of names, or None.

        Raises:
            StudioError: If one is something else.
        """
        return cls(
            None if spatial is None else check_share(spatial, 'trust in spatial prompts'),
            None if semantic is None else check_share(semantic, 'trust in semantic prompts'),
            None if names is None else check_names(names),
        )


def check_share(value: Any, what: str) -> float:
    """A number from 0 to 1.

    Raises:
        StudioError: If it is something else, NaN included.
    """
    if not _is_number(value) or not 0 <= value <= 1:
        raise StudioError(f'The {what} is a number from 0 to 1, not {_show(value)}.')
    return float(value)


def check_number(value: Any, count: int, what: str) -> int:
    """A whole number from 0 to ``count - 1``.

    Raises:
        StudioError: If it is something else.
    """
    if not _is_number(value) or not 0 <= value < count or value != int(value):
        raise StudioError(
            f'The {what} is a whole number from 0 to {count - 1}, not {_show(value)}.'
        )
    return int(value)


def check_names(names: Any) -> Tuple[str, ...]:
    """Class names, normalised; empty lines do not count.

    Args:
        names: A text with one name a line, or a list of names.

    Raises:
        StudioError: If there is no name, or too many, or one that is too long or there twice.
    """
    lines = names.split('\n') if isinstance(names, str) else names
    if not isinstance(lines, Sequence) or not all(isinstance(line, str) for line in lines):
        raise StudioError(f'Class names are a text with one a line, not {_show(names)}.')
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise StudioError('There is no class name: write at least one, one a line.')
    if len(lines) > MAX_NAMES:
        raise StudioError(f'There are {len(lines)} class names: write at most {MAX_NAMES}.')
    too_long = next((line for line in lines if len(line) > MAX_LENGTH), None)
    if too_long is not None:
        raise StudioError(
            f'The class name {_show(too_long)} has {len(too_long)} characters: write at most '
            f'{MAX_LENGTH}.'
        )
    seen = set()
    for line in lines:
        key = ' '.join(line.split()).lower()
        if key in seen:
            raise StudioError(
                f'The class name {_show(line.strip())} is there twice: upper and lower case are '
                'the same to the text encoder.'
            )
        seen.add(key)
    try:
        return tuple(check_class_names(lines))
    except ValueError as error:
        raise StudioError(f'{str(error)[:1].upper()}{str(error)[1:]}.') from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _show(value: Any) -> str:
    """A value of a stranger, short and on one line."""
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:56]} ...'
