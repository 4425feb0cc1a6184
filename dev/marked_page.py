"""Pages whose tables and figures come from committed results.

A table stands between two marks, and is made as a whole::

    <!-- table: NAME -->
    ...
    <!-- end of table -->

Figures in running text, in tables that people write and in code stay as they are read; a comment
after them says where each comes from, in their order::

    SSPrompt reaches 66.0, a fine-tuned decoder 69.4.

    <!-- figures
    66.0 = components / SSPrompt / miou
    69.4 = components / mask decoder fine-tuned / miou
    -->

It speaks of the text since the comment, the table or the heading before it.
"""

import re
from typing import Callable, List, Mapping, Match

__all__ = ['PageError', 'render']

_TABLE = re.compile(
    r'(?P<start><!-- table: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(?P<end><!-- end of table -->)',
    re.DOTALL,
)
_FIGURES = re.compile(r'<!-- figures\n(?P<lines>.*?)-->', re.DOTALL)
_BORDER = re.compile(r'^#+ [^\n]*$|<!-- end of table -->', re.MULTILINE)


class PageError(ValueError):
    """A page's marks or figures are not what they have to be."""


def render(text: str, tables: Mapping[str, Callable[[], str]], figure: Callable[[str], str]) -> str:
    """A page with the tables and figures that the results give.

    Args:
        text: The page.
        tables: What makes each table, by its name.
        figure: What a key stands for, as it is written.

    Raises:
        PageError: If a mark is missing or names no table, or a figure is not in the text.
    """
    return _write_figures(_write_tables(text, tables), figure)


def _write_tables(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    names = re.findall(r'<!-- table: ([\w-]+) -->', text)
    if sorted(names) != sorted(tables) or len(_TABLE.findall(text)) != len(names):
        raise PageError(
            f'expected the marks <!-- table: NAME --> and <!-- end of table --> of each of '
            f'{sorted(tables)}, found {sorted(names)}'
        )

    def write(match: Match[str]) -> str:
        return f'{match["start"]}\n{tables[match["name"]]()}\n\n{match["end"]}'

    return _TABLE.sub(write, text)


def _write_figures(text: str, figure: Callable[[str], str]) -> str:
    parts: List[str] = []
    place = 0
    for match in _FIGURES.finditer(text):
        borders = [border.end() for border in _BORDER.finditer(text, place, match.start())]
        begin = borders[-1] if borders else place
        parts.append(text[place:begin])
        parts.append(_write_part(text[begin : match.start()], match['lines'], figure))
        place = match.end()
    return ''.join([*parts, text[place:]])


def _write_part(part: str, lines: str, figure: Callable[[str], str]) -> str:
    """A piece of text with its comment."""
    written, comment = '', ['<!-- figures']
    for line in lines.splitlines():
        found, is_entry, key = line.partition(' = ')
        if not is_entry:
            raise PageError(f'expected FIGURE = KEY in a comment of figures, found {line!r}')
        place = re.search(rf'(?<![\d.]){re.escape(found)}(?!\d|\.\d)', part)
        if place is None:
            raise PageError(f'a comment has {line!r}, but {found!r} is not there in its text')
        value = figure(key)
        written += part[: place.start()] + value
        part = part[place.end() :]
        comment.append(f'{value} = {key}')
    return '\n'.join([written + part + comment[0], *comment[1:], '-->'])
