"""The wheel's extras, one by one: what each brings, and what is said where it is missing."""

import json
import os
import subprocess
from pathlib import Path
from typing import Dict

import pytest

from mmseg_ssprompt.extras import EXTRAS
from test_extras import OF_THE_STACK
from test_packaging import extras
from wheels import ROOT, build_wheel, link_packages, make_environment

pytestmark = [pytest.mark.slow, pytest.mark.process]

#: Tries to import each package of an extra as the features do, and prints what is said.
TRY = """
import json, sys
import mmseg_ssprompt
from mmseg_ssprompt.extras import EXTRAS, MissingExtraError, import_extra
said = {}
for package in EXTRAS:
    try:
        import_extra(package, 'a feature')
    except MissingExtraError as error:
        said[package] = str(error)
print(json.dumps([mmseg_ssprompt.__file__, said]))
"""
#: Commands of the features, with what they lack; each is tried where no extra is installed.
COMMANDS = dict(
    huggingface_hub=('prompts', 'inspect', 'hf://user/name'),
    gradio=('studio',),
    onnx=('export', 'runs/first', '--out', 'exported'),
)
NAMES = sorted({each.extra for each in EXTRAS.values()})


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('wheel')
    return build_wheel(folder, tmp_path_factory.mktemp('checkout'))


@pytest.fixture(scope='module')
def base(tmp_path_factory) -> Path:
    """A folder with torch, OpenMMLab and what the package itself needs, and nothing else."""
    runtime = (ROOT / 'requirements' / 'runtime.txt').read_text().splitlines()
    lines = [line for line in runtime if not line.startswith('#')]
    stack = [line for name in ('torch', 'openmmlab') for line in extras()[name]]
    return link_packages(tmp_path_factory.mktemp('base') / 'packages', [*lines, *stack])


def call(programs: Path, *arguments: str) -> subprocess.CompletedProcess:
    kept = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    environment = dict(kept, OMP_NUM_THREADS='1')
    command = [str(programs / arguments[0]), *arguments[1:]]
    return subprocess.run(  # elsewhere than in the checkout, which would be imported
        command, cwd=programs, env=environment, capture_output=True, text=True, timeout=600
    )


def lacking(programs: Path) -> Dict[str, str]:
    """What is said of each package of an extra that is missing, by its name."""
    done = call(programs, 'python', '-c', TRY)
    assert done.returncode == 0, done.stderr[-3000:]
    place, said = json.loads(done.stdout.splitlines()[-1])
    assert programs.parent in Path(place).parents
    return said


def test_extras_and_their_packages_are_those_of_setup():
    assert sorted({*extras()} - OF_THE_STACK) == NAMES


def test_without_extras_each_is_named_in_one_line(wheel, base, tmp_path):
    programs = make_environment(tmp_path / 'none', wheel, base)
    said = lacking(programs)
    assert set(said) == set(EXTRAS)
    for package, text in said.items():
        assert f'pip install "{EXTRAS[package].requirement}"' in text
        assert len(text.splitlines()) == 1
    for package, command in COMMANDS.items():
        done = call(programs, 'mmseg-ssprompt', *command)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert f'(the extra [{EXTRAS[package].extra}])' in line
    assert call(programs, 'mmseg-ssprompt', 'configs').returncode == 0


@pytest.mark.parametrize('extra', NAMES)
def test_an_extra_brings_its_packages_and_no_others(wheel, base, tmp_path, extra):
    try:
        programs = make_environment(tmp_path / extra, wheel, base, extra)
    except subprocess.CalledProcessError as error:
        if 'No matching distribution' in error.stderr or 'connection' in error.stderr:
            pytest.skip(f'the packages of [{extra}] cannot be had: {error.stderr[-300:]}')
        raise
    own = {package for package, each in EXTRAS.items() if each.extra == extra}
    said = lacking(programs)
    assert not own & set(said), said
    brought = set(EXTRAS) - set(said) - own
    # Others may need the hub's library themselves.
    assert brought <= {'huggingface_hub'}
