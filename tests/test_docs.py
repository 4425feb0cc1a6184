"""What the documentation names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'docs' / 'evidence' / 'reliability.md').read_text(encoding='utf-8')
ROWS = re.findall(r'^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$', TEXT, flags=re.MULTILINE)
PAGES = [
    *sorted(ROOT.glob('*.md')),
    *sorted((ROOT / 'docs').rglob('*.md')),
    *sorted((ROOT / 'configs').rglob('*.md')),
]


@pytest.fixture(scope='module')
def functions() -> dict:
    """The functions of each test file, by its path."""
    found = {}
    for file in sorted((ROOT / 'tests').rglob('test_*.py')):
        body = ast.parse(file.read_text(encoding='utf-8')).body
        names = {node.name for node in body if isinstance(node, ast.FunctionDef)}
        found[file.relative_to(ROOT).as_posix()] = names
    return found


def test_all_faults_have_a_row():
    assert [int(number) for number, *_ in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 77


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_the_tests_of_a_row_exist(row, functions):
    """A row names the end of a path, so that it still holds when folders of tests change."""
    names = re.findall(r'`([^`]+)`', row[3])
    assert names
    for name in names:
        path, _, function = name.partition('::')
        having = [file for file in functions if not function or function in functions[file]]
        found = [file for file in having if f'/{file}'.endswith(f'/{path}')]
        assert len(found) == 1, f'{name}: expected one test, found {found}; others are in {having}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r'\]\((?!https?://|#)([^)#]+)', page.read_text(encoding='utf-8'))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_headings(page):
    """GitHub's names of headings: lower case, spaces are hyphens, other signs are left out."""
    text = page.read_text(encoding='utf-8')
    for link, anchor in re.findall(r'\]\((?!https?://)([^)#]*)#([^)]+)\)', text):
        target = page.parent / link if link else page
        headings = re.findall(r'^#+ (.+)$', target.read_text(encoding='utf-8'), re.MULTILINE)
        names = [re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings]
        assert anchor in names, f'{link}#{anchor}'
