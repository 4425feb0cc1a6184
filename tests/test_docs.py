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


def functions_of(file: Path) -> set:
    tree = ast.parse(file.read_text(encoding='utf-8'))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def places_of(function: str) -> list:
    """The test files that have a function, for the message: tests move."""
    files = sorted((ROOT / 'tests').rglob('test_*.py'))
    return [str(file.relative_to(ROOT)) for file in files if function in functions_of(file)]


def test_all_faults_have_a_row():
    assert [int(number) for number, *_ in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 77


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_the_tests_of_a_row_exist(row):
    names = re.findall(r'`([^`]+)`', row[3])
    assert names
    for name in names:
        path, _, function = name.partition('::')
        file = ROOT / 'tests' / path
        assert file.is_file(), f'{name}: moved to {places_of(function)}?'
        assert not function or function in functions_of(file), f'{name}: {places_of(function)}?'


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
