"""An extension of griffe: docstrings, which are written for readers of code, as Markdown."""

import re
from typing import Any, Match

from griffe import Docstring, Extension, Object

__all__ = ['Docstrings', 'to_markdown']

#: An argument's entry that stands for several: "points, boxes: N foreground points, or N boxes."
_SHARED = re.compile(r'^( +)([*\w]+(?:, [*\w]+)+): (.*\n?(?:\1 {4,}.*\n?)*)', re.MULTILINE)


class Docstrings(Extension):
    """Rewrites the docstring of each object that is read."""

    def on_instance(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite one."""
        if isinstance(obj.docstring, Docstring):
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """Names in roles as code, code after two colons, and an entry for each argument."""
    text = re.sub(r':[a-z]+:`~?([^`]+)`', r'`\1`', text)
    text = re.sub(r'(?<=\S)::\n', ':\n', text)
    return _SHARED.sub(_divide, text)


def _divide(match: Match[str]) -> str:
    indent, names, meaning = match.groups()
    return '\n'.join(f'{indent}{name}: {meaning.rstrip()}' for name in names.split(', ')) + '\n'
