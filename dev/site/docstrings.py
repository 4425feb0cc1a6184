"""An extension of griffe: docstrings, which are written for readers of code, as Markdown."""

import itertools
import re
from pathlib import Path
from typing import Any, Match

from griffe import Attribute, Docstring, Extension, Object

__all__ = ['Docstrings', 'to_markdown']

#: An argument's entry that stands for several: "points, boxes: N foreground points, or N boxes."
_SHARED = re.compile(r'^( +)([*\w]+(?:, [*\w]+)+): (.*\n?(?:\1 {4,}.*\n?)*)', re.MULTILINE)


class Docstrings(Extension):
    """Rewrites the docstring of each object that is read."""

    def on_attribute_instance(self, *, attr: Attribute, **kwargs: Any) -> None:
        """Take the comment ``#: ...`` above a value for its docstring."""
        if attr.docstring is None and attr.lineno and isinstance(attr.filepath, Path):
            lines = attr.filepath.read_text(encoding='utf-8').splitlines()[: attr.lineno - 1]
            text = '\n'.join(reversed(list(itertools.takewhile(_is_comment, reversed(lines)))))
            if text:
                comment = re.sub(r'^ *#:? ?', '', text, flags=re.MULTILINE)
                attr.docstring = Docstring(to_markdown(comment), parent=attr)

    def on_instance(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite one."""
        if isinstance(obj.docstring, Docstring):
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """Names in roles as code, code after two colons, and an entry for each argument."""
    text = re.sub(r':[a-z]+:`~?([^`]+)`', r'`\1`', text)
    text = re.sub(r'(?<=\S)::\n', ':\n', text)
    return _SHARED.sub(_divide, text)


def _is_comment(line: str) -> bool:
    return re.match(r' *#:', line) is not None


def _divide(match: Match[str]) -> str:
    indent, names, meaning = match.groups()
    return '\n'.join(f'{indent}{name}: {meaning.rstrip()}' for name in names.split(', ')) + '\n'
