"""What the documentation names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'docs' / 'reliability.md').read_text(encoding='utf-8')
ROWS = re.findall(r'^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$', TEXT, flags=re.MULTILINE)


def test_all_faults_have_a_row():
    assert [int(number) for number, *_ in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 44


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_the_tests_of_a_row_exist(row):
    names = re.findall(r'`([^`]+)`', row[3])
    assert names
    for name in names:
        file, _, function = name.partition('::')
        tree = ast.parse((ROOT / 'tests' / file).read_text(encoding='utf-8'))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in functions, name


@pytest.mark.parametrize(
    'file', [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))], ids=str
)
def test_links_lead_to_files(file):
    links = re.findall(r'\]\((?!https?://|#)([^)#]+)', file.read_text(encoding='utf-8'))
    assert [link for link in links if not (file.parent / link).exists()] == []
