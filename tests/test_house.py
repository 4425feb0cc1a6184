"""Imports between folders of the package point downwards only, those inside functions included."""

import ast
from pathlib import Path
from typing import Dict, Iterator, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'mmseg_ssprompt'
#: From the ground up: each folder may import those before it. Modules that lie in no folder are the
#: ground floor.
FLOORS = (
    'ground',
    'weights',
    'models/base',
    'models/prompts',
    'models/sam',
    'models/clip',
    'models/seem',
    'models/classifiers',
    'models/losses',
    'models/heads',
    'datasets',
    'evaluation',
    'prompt_files',
    'models/segmentors',
    'cache',
    'hooks',
    'miniature',
    'analysis',
    'prediction',
    'fitting',
    'publishing',
    'export',
    'studio',
    'cli',
)
#: They only gather what is below them.
GATHER = (
    'mmseg_ssprompt/__init__.py',
    'mmseg_ssprompt/__main__.py',
    'mmseg_ssprompt/models/__init__.py',
)


def floor_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix('').parts
    if parts[0] == 'models':
        return '/'.join(parts[:2]) if len(parts) > 2 else 'models'
    return parts[0] if len(parts) > 1 else 'ground'


def resolve(name: str) -> Path:
    """The file of a dotted name below the package."""
    path = ROOT / Path(*name.split('.'))
    return path / '__init__.py' if path.is_dir() else path.with_suffix('.py')


def imported_files(file: Path) -> Iterator[Path]:
    """The files of the package that a file imports, anywhere in it."""
    package = '.'.join(file.relative_to(ROOT).parts[:-1]).split('.')
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = '.'.join([*above, *((node.module or '').split('.') if node.module else [])])
            names = [f'{base}.{alias.name}' for alias in node.names]
            names = [name if resolve(name).is_file() else base for name in names]
        else:
            continue
        for name in names:
            if name.split('.')[0] == PACKAGE.name and resolve(name).is_file():
                yield resolve(name)


@pytest.fixture(scope='module')
def arrows() -> Dict[Tuple[str, str], Set[str]]:
    """The files behind each arrow from folder to folder."""
    found: Dict[Tuple[str, str], Set[str]] = {}
    for file in sorted(PACKAGE.rglob('*.py')):
        if '.mim' in file.parts or str(file.relative_to(ROOT)) in GATHER:
            continue
        for target in imported_files(file):
            arrow = floor_of(file), floor_of(target)
            if arrow[0] != arrow[1]:
                found.setdefault(arrow, set()).add(f'{file.relative_to(ROOT)} -> {target.name}')
    return found


def test_every_folder_has_a_floor(arrows):
    folders = {floor for arrow in arrows for floor in arrow} - {'models'}
    assert folders <= set(FLOORS)
    assert len(folders) > 12


def test_no_arrow_points_upwards(arrows):
    """So there is no circle either."""
    wrong = {
        arrow: files
        for arrow, files in arrows.items()
        if 'models' not in arrow and FLOORS.index(arrow[0]) < FLOORS.index(arrow[1])
    }
    assert not wrong
    # Only what lies above all models may ask for them together.
    above = FLOORS[FLOORS.index('cache') :]
    assert {start for start, end in arrows if end == 'models'} <= set(above)


def test_prompts_know_no_base_model(arrows):
    targets = {end for start, end in arrows if start == 'models/prompts'}
    assert targets <= {'ground', 'models/base'}


def test_package_is_complete():
    """A folder that git ignores would be missing in a clone."""
    assert {floor for floor in FLOORS if '/' not in floor and floor != 'ground'} <= {
        path.parent.name for path in PACKAGE.glob('*/__init__.py')
    }
