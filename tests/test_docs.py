"""What the documentation names is there."""

import argparse
import ast
import re
from pathlib import Path

import pytest

from mmseg_ssprompt.cli.parser import build_parser

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


def commands_of(parser: argparse.ArgumentParser) -> dict:
    """The parsers of the sub-commands by name."""
    kinds = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(kinds[0].choices) if kinds else {}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page):
    text = page.read_text(encoding='utf-8')
    pattern = r'(?:mmseg-ssprompt|-m mmseg_ssprompt) ([a-z][\w-]*)(?: ([a-z]+))?'
    for name, action in re.findall(pattern, text):
        assert name in commands_of(build_parser())
        actions = commands_of(commands_of(build_parser())[name])
        assert not (actions and action) or action in actions, f'{name} {action}'
    # In code alone: prose makes things, too.
    code = re.findall(r'^    .+|`[^`\n]+`', text, flags=re.MULTILINE)
    rules = set(re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text('utf-8'), re.MULTILINE))
    named = {rule for line in code for rule in re.findall(r'^[ `]*make ([a-z][\w-]*)', line)}
    assert named - {'test-cuda'} <= rules  # which the changelog says is gone


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_exist(page):
    text = page.read_text(encoding='utf-8')
    folders = r'\b(?:tools|dev|tests|mmseg_ssprompt|configs)'
    named = set(re.findall(folders + r'/[\w./-]+\.(?:py|sh|sbatch|json|md|pth)\b', text))
    named |= {name.replace('.', '/') for name in re.findall(r'python -m (dev\.[a-z_]+)', text)}
    absent = [name for name in sorted(named) if not any(ROOT.glob(f'{name}*'))]
    assert [name for name in absent if 'NAME' not in name] == []
