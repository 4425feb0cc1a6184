"""Installing the package replaces nothing, and what is said of versions is said everywhere."""

import ast
import json
import re
import subprocess
import venv
import zipfile
from pathlib import Path
from typing import Dict, List, Sequence

import pytest

from mmseg_ssprompt import __version__, compat
from wheels import PIP, ROOT, build_wheel

#: What somebody has who works on an older torch, each older than anything we know of.
HAVE = {
    'torch': '2.0.1',
    'torchvision': '0.15.2',
    'numpy': '1.24.4',
    'mmcv': '2.0.1',
    'mmengine': '0.8.4',
    'mmsegmentation': '1.1.2',
    'opencv-python': '4.8.0.76',
    'safetensors': '0.3.3',
    'pillow': '9.5.0',
}
#: What an index has: the newest of each, with the requirements that pull in others.
INDEX = {
    'torch': ('2.14.1', ['typing-extensions']),
    'torchvision': ('0.29.1', ['numpy', 'torch>=2.14.0', 'pillow']),
    'numpy': ('2.4.6', []),
    'scipy': ('1.17.1', ['numpy>=1.26.4']),
    'matplotlib': ('3.11.2', ['numpy>=1.25', 'pillow>=9']),
    'opencv-python': ('5.0.0.93', ['numpy>=2']),
    'mmcv-lite': ('2.1.0', ['numpy', 'opencv-python>=3', 'mmengine>=0.3.0']),
    'mmengine': ('0.10.7', ['numpy', 'matplotlib', 'opencv-python>=3']),
    'mmsegmentation': ('1.2.2', ['numpy', 'scipy', 'matplotlib']),
    'safetensors': ('0.8.0', []),
    'segment-anything': ('1.0', []),
    'filelock': ('4.3.1', []),
    'ftfy': ('6.3.1', ['wcwidth']),
    'wcwidth': ('0.2.13', []),
    'regex': ('2025.7.34', []),
    'pillow': ('12.0.0', []),
    'typing-extensions': ('4.15.0', []),
}


def metadata(name: str, version: str, requires: Sequence[str] = ()) -> str:
    lines = ['Metadata-Version: 2.1', f'Name: {name}', f'Version: {version}']
    return '\n'.join([*lines, *(f'Requires-Dist: {line}' for line in requires)]) + '\n'


def write_wheel(folder: Path, name: str, version: str, requires: Sequence[str]) -> None:
    """A wheel that has metadata and nothing else."""
    stem = f'{name.replace("-", "_")}-{version}'
    info = f'{stem}.dist-info'
    with zipfile.ZipFile(folder / f'{stem}-py3-none-any.whl', 'w') as wheel:
        wheel.writestr(f'{info}/METADATA', metadata(name, version, requires))
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', '')


@pytest.fixture(scope='module')
def wheels(tmp_path_factory) -> Path:
    """An index of files: what others publish, and the package, built from this checkout."""
    folder, checkout = tmp_path_factory.mktemp('wheels'), tmp_path_factory.mktemp('checkout')
    for name, (version, requires) in INDEX.items():
        write_wheel(folder, name, version, requires)
    build_wheel(folder, checkout)
    return folder


@pytest.fixture(scope='module')
def environment(tmp_path_factory) -> Path:
    """The Python of an environment that has the metadata of ``HAVE`` and nothing else of them."""
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder, with_pip=False)
    packages = next(folder.glob('lib/python*/site-packages'))
    for name, version in HAVE.items():
        info = packages / f'{name.replace("-", "_")}-{version}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(metadata(name, version))
        (info / 'INSTALLER').write_text('pip\n')
        (info / 'RECORD').write_text(f'{info.name}/METADATA,,\n{info.name}/RECORD,,\n')
    return folder / 'bin' / 'python'


def dry_run(python: Path, wheels: Path, *what: str) -> subprocess.CompletedProcess:
    report = wheels / 'report.json'
    report.unlink(missing_ok=True)
    command = [*PIP, '--python', str(python), 'install', '--dry-run', '--no-index', '--pre']
    command += ['--find-links', str(wheels), '--report', str(report), *what]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def would_install(python: Path, wheels: Path, *what: str) -> Dict[str, str]:
    """Versions by name of what pip would lay into an environment."""
    done = dry_run(python, wheels, *what)
    assert done.returncode == 0, done.stderr
    report = json.loads((wheels / 'report.json').read_text())
    return {row['metadata']['name']: row['metadata']['version'] for row in report['install']}


@pytest.mark.slow
def test_installing_replaces_nothing(environment, wheels):
    """Also where versions are older than the package needs, which it says when imported."""
    installed = would_install(environment, wheels, 'mmseg-ssprompt')
    assert set(installed) == {
        'mmseg-ssprompt',
        'filelock',
        'ftfy',
        'wcwidth',
        'regex',
        'segment-anything',
    }
    assert installed['mmseg-ssprompt'] == __version__
    assert not set(installed) & set(HAVE)


@pytest.mark.slow
def test_an_index_that_has_newer_ones_would_replace_them_if_asked(environment, wheels):
    """So the test above can fail."""
    installed = would_install(environment, wheels, 'mmseg-ssprompt', 'torchvision>=0.16')
    assert (installed['torch'], installed['torchvision']) == ('2.14.1', '0.29.1')


@pytest.mark.slow
def test_no_extra_but_torch_replaces_torch(environment, wheels):
    installed = would_install(environment, wheels, 'mmseg-ssprompt[openmmlab]')
    assert not {'torch', 'torchvision'} & set(installed)
    installed = would_install(environment, wheels, 'mmseg-ssprompt[torch]')
    assert (installed['torch'], installed['torchvision']) == ('2.14.1', '0.29.1')


@pytest.mark.slow
@pytest.mark.parametrize('extra', ['openmmlab', 'torch'])
def test_with_what_is_there_as_constraints_an_extra_is_refused_with_the_reason(
    environment, wheels, tmp_path, extra
):
    """As the README says."""
    have = tmp_path / 'have.txt'
    have.write_text(''.join(f'{name}=={version}\n' for name, version in HAVE.items()))
    done = dry_run(environment, wheels, '--constraint', str(have), f'mmseg-ssprompt[{extra}]')
    assert done.returncode != 0
    named = dict(openmmlab=r'mmengine(==|<|>=| )', torch=r'torch(==|<|>=| )')[extra]
    assert re.search(named, done.stderr + done.stdout)
    assert 'conflict' in done.stderr


@pytest.mark.slow
def test_in_an_empty_environment_the_extras_bring_all(wheels, tmp_path):
    venv.create(tmp_path / 'empty', with_pip=False)
    python = tmp_path / 'empty' / 'bin' / 'python'
    installed = would_install(python, wheels, 'mmseg-ssprompt[openmmlab,torch]')
    needed = {need.distributions[0] for need in (*compat._OPENMMLAB, *compat._OTHERS)}
    assert needed - set(installed) == {'mmcv'}
    assert installed['mmcv-lite'] == '2.1.0'


# What is said in several places


def setup_arguments() -> Dict[str, ast.expr]:
    """The arguments of ``setup()`` by name, unevaluated."""
    for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'setup':
            return {keyword.arg: keyword.value for keyword in node.keywords}
    raise AssertionError('setup.py calls no setup()')


def extras() -> Dict[str, List[str]]:
    node = setup_arguments()['extras_require']
    return {
        key.value: ast.literal_eval(value)
        for key, value in zip(node.keys, node.values)
        if isinstance(value, ast.List)
    }


def test_requirements_have_no_bounds_and_name_nothing_that_others_pin():
    lines = (ROOT / 'requirements' / 'runtime.txt').read_text().splitlines()
    names = [line for line in lines if not line.startswith('#')]
    assert names == ['filelock', 'ftfy', 'regex', 'safetensors', 'segment-anything']


def test_the_commands_of_the_message_install_what_the_extras_do():
    commands = list(compat._WAYS.values())
    for line in extras()['openmmlab']:
        assert f'"{line}"' in commands[0]
    for line in extras()['onedl']:
        assert f'"{line}"' in commands[2]
    oldest = {need.distributions[0]: need.oldest for need in (*compat._OPENMMLAB, *compat._OTHERS)}
    assert extras()['torch'] == [f'{n}>={oldest[n]}' for n in ('torch', 'torchvision')]
    for name in ('mmengine', 'mmcv', 'mmsegmentation'):
        assert f'"{name}>={oldest[name]}' in commands[1]


@pytest.mark.parametrize('file', sorted((ROOT / 'mmseg_ssprompt').rglob('*.py')), ids=str)
def test_messages_name_no_package_or_file_that_is_not_there(file):
    """The package is on no index, and an installed one lacks folders of the checkout."""
    tree = ast.parse(file.read_text())
    bodies = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, bodies) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert 'mmseg-ssprompt[' not in node.value
            if id(node) not in docstrings:
                assert not re.search(r'(requirements|docs|dev|tests)/\w', node.value), node.value
                assert 'tools/' not in node.value or 'checkout' in node.value, node.value


def test_the_oldest_python_is_the_same_everywhere():
    oldest = ast.literal_eval(setup_arguments()['python_requires'])
    assert oldest == '>=3.10'
    settings = (ROOT / 'pyproject.toml').read_text()
    assert "target-version = 'py310'" in settings
    readme = (ROOT / 'README.md').read_text()
    assert 'with Python 3.10 or newer, git and make' in readme
    assert 'Linux, Python 3.10 or newer' in readme
    assert 'The package needs Python 3.10' in (ROOT / 'docs' / 'install.md').read_text()
    assert 'Python 3.10' in (ROOT / 'CONTRIBUTING.md').read_text()
    for page in [*ROOT.glob('*.md'), *ROOT.glob('docs/*.md')]:
        assert not re.search(r'Python 3\.[6-9]\b', page.read_text()), page


def test_the_version_is_a_development_version_that_pip_sorts_before_the_release():
    assert re.fullmatch(r'0\.2\.0(\.dev\d+)?', __version__)


@pytest.mark.parametrize('page', ['README.md', 'docs/install.md'])
def test_pages_name_extras_that_exist(page):
    text = (ROOT / page).read_text()
    named = re.findall(r'"[\w./-]*\[([\w,]+)\]"', text)
    assert named
    assert {name for group in named for name in group.split(',')} <= {*extras(), 'tests'}
    assert 'requirements/mminstall' not in text


@pytest.mark.parametrize('page', ['README.md', 'docs/install.md'])
def test_pages_name_the_wheel_of_this_version(page):
    wheels_named = re.findall(r'mmseg_ssprompt-[\w.]+-py3-none-any\.whl', (ROOT / page).read_text())
    assert set(wheels_named) == {f'mmseg_ssprompt-{__version__}-py3-none-any.whl'}


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 120
