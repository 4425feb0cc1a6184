"""Texts of people in pages of Markdown: whatever they hold, they are shown as they are."""

import html
import re
from typing import Any, Iterable, List, Sequence

import yaml

__all__ = ['escape', 'front_matter', 'one_line', 'table']

#: What Markdown may take for the beginning of something, anywhere and at the beginning of a line.
_SIGNS = re.compile(r'([\\`*_{}\[\]()#|~^$@]|^[-+=]|^\d+(?=[.)]))')
_FENCE = '---'


def one_line(text: Any) -> str:
    """A text on one line; control characters, and those that nobody sees, become spaces."""
    return ' '.join(''.join(char if char.isprintable() else ' ' for char in str(text)).split())


def escape(text: Any) -> str:
    """A text on one line, in which no sign means anything to Markdown or HTML."""
    return _SIGNS.sub(_quote, html.escape(one_line(text), quote=False))


def _quote(sign: 're.Match[str]') -> str:
    """A sign with a backslash; in HTML's way of a number, which takes none."""
    text = sign.group()
    return f'&#{ord(text[0])};{text[1:]}' if text.isdigit() else f'\\{text}'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> List[str]:
    """The lines of a table.

    Args:
        head: Titles of columns, of Markdown.
        rows: Cells, of Markdown.
        numbers: How many of the last columns are numbers, which end at the right.
    """
    marks = ['---'] * (len(head) - numbers) + ['---:'] * numbers
    return [f'| {" | ".join(row)} |' for row in (head, marks, *rows)]


def front_matter(content: Any) -> str:
    """Plain values as YAML between two fences, as a model hub reads them from a card."""
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=10_000)
    return f'{_FENCE}\n{text}{_FENCE}\n'
