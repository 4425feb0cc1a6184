"""The blocks of code on the pages of the documentation."""

import re
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page for pattern in ('*.md', 'docs/**/*.md', 'configs/**/*.md') for page in ROOT.glob(pattern)
)
_BLOCK = re.compile(
    r'^(?:<!-- not (?:run|walked): (?P<reason>[^>]+) -->\n+)?'
    r'^```(?P<kind>[^\n`]*)\n(?P<code>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of code.

    Attributes:
        page: Its path from the root.
        line: Where it begins.
        kind: What the page calls it: ``bash``, ``python``, ``text`` ...; of a block that is only
            indented ``indented``.
        code: What is in it.
        reason: Why it is not run; None where it is.
    """

    page: str
    line: int
    kind: str
    code: str
    reason: Optional[str] = None

    def __str__(self) -> str:
        return f'{self.page}:{self.line}'


def read_blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page."""
    text, name = page.read_text(encoding='utf-8'), page.relative_to(ROOT).as_posix()

    def line_of(place: int) -> int:
        return text.count('\n', 0, place) + 1

    for match in _BLOCK.finditer(text):
        yield Block(
            name, line_of(match.start('code')) - 1, match['kind'], match['code'], match['reason']
        )
    # Of the same length, so that lines can still be counted.
    rest = re.sub(r'<!--.*?-->', _blank, _BLOCK.sub(_blank, text), flags=re.DOTALL)
    in_list = False
    for match in re.finditer(
        r'^(?! {4})\S.*$|(?:^ {4}.*\n(?:[ \t]*\n(?= {4}))*)+', rest, re.MULTILINE
    ):
        if not match[0].startswith('    '):
            in_list = re.match(r'[-*] |\d+\. ', match[0]) is not None
        elif not in_list:
            code = re.sub('^ {4}', '', match[0], flags=re.MULTILINE)
            yield Block(name, line_of(match.start()), 'indented', code)


def _blank(match: 're.Match[str]') -> str:
    return re.sub(r'[^\n]', ' ', match[0]).replace(' ', '')


def all_blocks(*kinds: str) -> List[Block]:
    """The blocks of some kinds on all pages."""
    return [block for page in PAGES for block in read_blocks(page) if block.kind in kinds]
