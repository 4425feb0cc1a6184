"""Class names and colours as configs give them."""

from typing import Any, List, Optional, Sequence

from mmengine import list_from_file

__all__ = ['find_palette_problem', 'read_class_names']


def read_class_names(classes: Any) -> Optional[List[str]]:
    """The class names that a setting gives.

    Args:
        classes: A list of names; or the path of a text file with one a line, as for mmengine's
            ``metainfo``.

    Returns:
        None if it is neither.
    """
    if isinstance(classes, str):
        try:
            return list(list_from_file(classes))
        except (OSError, TypeError, UnicodeError):
            return None
    is_list = isinstance(classes, (list, tuple))
    return list(classes) if is_list and all(isinstance(name, str) for name in classes) else None


def find_palette_problem(palette: Any, class_names: Sequence[str]) -> Optional[str]:
    """Say what is wrong with the colours of classes; None if nothing is.

    Args:
        palette: Expected are (C, 3) whole numbers from 0 to 255.
        class_names: The C names.
    """
    palette = palette.tolist() if hasattr(palette, 'tolist') else palette
    if not isinstance(palette, (list, tuple)):
        return f'expected a list with a colour [R, G, B] for each class, found {palette!r}'
    for name, colour in zip(class_names, palette):
        if not _is_colour(colour):
            return (
                f'expected [R, G, B] from 0 to 255, whole numbers, for class {name!r}, '
                f'found {colour!r}'
            )
    if len(palette) != len(class_names):
        return (
            f'expected a colour for each of {len(class_names)} classes, {list(class_names)}, '
            f'found {len(palette)}'
        )
    return None


def _is_colour(value: Any) -> bool:
    is_list = isinstance(value, (list, tuple)) and len(value) == 3
    return is_list and all(type(each) is int and 0 <= each <= 255 for each in value)
