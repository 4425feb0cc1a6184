"""The fixes for the stack underneath, each in an interpreter of its own: imports are global."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Dict, Optional, Sequence

import pytest

from mmseg_ssprompt import compat

ROOT = Path(compat.__file__).resolve().parent.parent
HAS_COMPILED_OPS = importlib.util.find_spec('mmcv._ext') is not None

#: Runs the fix alone, without the package around it and what that imports.
FIX = f"""
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location('compat', {compat.__file__!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
compat.allow_mmcv_without_ops()
"""
REPORT = """
print(json.dumps([name for name in sys.modules if name.split('.')[0] == 'mmcv']))
"""
SAYS_WHETHER_EXT_IS_THERE = "import sys\nEXT = 'mmcv._ext' in sys.modules\n"


def run(code: str, path: Path = ROOT, options: Sequence[str] = ()) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *options, '-c', code],
        env=dict(os.environ, PYTHONPATH=str(path), PYTHONDONTWRITEBYTECODE='1'),
        capture_output=True,
        text=True,
        timeout=300,
    )


def output(code: str, path: Path = ROOT) -> object:
    """What ``code`` prints last, as JSON."""
    done = run(code, path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write_packages(folder: Path, files: Dict[str, str]) -> Path:
    """Packages called mmcv and mmseg; ``folder`` is what has to be in the path."""
    defaults = {
        'mmcv/__init__.py': '',
        'mmseg/__init__.py': '',
        'mmseg/utils/__init__.py': 'import mmcv.ops\n',
    }
    for name, content in {**defaults, **files}.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def stack_of(without: Sequence[str] = (), **versions: Optional[str]) -> SimpleNamespace:
    """importlib with all packages but the modules ``without``, of versions by distribution."""

    def find_spec(name: str) -> Optional[object]:
        return None if name in without else object()

    def version(name: str) -> str:
        if versions.get(name, '99') is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name, '99')

    error = importlib.metadata.PackageNotFoundError
    return SimpleNamespace(
        util=SimpleNamespace(find_spec=find_spec),
        metadata=SimpleNamespace(version=version, PackageNotFoundError=error),
    )


@pytest.fixture(scope='module')
def stack() -> dict:
    """What is true of the installed stack after the package was imported."""
    if HAS_COMPILED_OPS:
        pytest.skip('the installed mmcv has compiled operators: there is nothing to fix')
    if run('import mmseg.utils').returncode == 0:
        pytest.skip('the installed mmseg does without compiled operators: nothing to fix')
    return output(
        """
import json, sys
import mmseg_ssprompt
left = 'mmcv._ext' in sys.modules
from mmengine.utils.dl_utils import mmcv_full_available
import mmseg.models
import torch
from mmcv.ops import nms, point_sample
sampled = point_sample(torch.ones(1, 1, 2, 2), torch.full((1, 3, 2), 0.5)).flatten().tolist()
try:
    nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except NotImplementedError as error:
    message = str(error)
full = mmcv_full_available()
print(json.dumps(dict(left=left, full=full, sampled=sampled, message=message)))
"""
    )


@pytest.mark.slow
@pytest.mark.process
def test_the_stand_in_is_taken_out_again(stack):
    assert stack['left'] is False


@pytest.mark.slow
@pytest.mark.process
def test_mmengine_still_sees_that_there_are_no_compiled_operators(stack):
    assert stack['full'] is False


@pytest.mark.slow
@pytest.mark.process
def test_operators_in_plain_python_work(stack):
    assert stack['sampled'] == [1.0, 1.0, 1.0]


@pytest.mark.slow
@pytest.mark.process
def test_compiled_operators_say_what_is_missing(stack):
    assert "the compiled operator 'nms' of mmcv was called" in stack['message']
    assert 'mmcv-lite' in stack['message']


@pytest.mark.slow
@pytest.mark.process
def test_mmseg_itself_needs_the_fix(stack):
    """If this fails, upstream has mended it, and the fix can go."""
    done = run('import mmseg.models')
    assert done.returncode != 0
    assert 'mmcv._ext' in done.stderr


@pytest.mark.slow
@pytest.mark.process
def test_the_package_imports_on_any_stack():
    """Also on versions that no test above names."""
    found = output(
        """
import json, sys
import mmseg_ssprompt, mmseg.models
from mmengine.utils.dl_utils import mmcv_full_available
print(json.dumps([mmcv_full_available(), 'mmcv._ext' in sys.modules]))
"""
    )
    assert found[0] == HAS_COMPILED_OPS
    assert HAS_COMPILED_OPS or not found[1]


FAILS = 'import importlib\next = importlib.import_module("mmcv._ext")\n'


def test_nothing_happens_where_compiled_operators_exist(tmp_path):
    files = {'mmcv/_ext.py': 'REAL = True', 'mmcv/ops/__init__.py': FAILS}
    code = FIX + 'import mmcv.ops\nprint(json.dumps(mmcv.ops.ext.REAL))'
    assert output(code, write_packages(tmp_path, files)) is True


def test_nothing_happens_where_mmseg_guards_its_imports(tmp_path):
    guard = 'try:\n    import mmcv.ops\nexcept ModuleNotFoundError:\n    pass\n'
    files = {'mmcv/ops/__init__.py': FAILS, 'mmseg/utils/__init__.py': guard}
    assert output(FIX + REPORT, write_packages(tmp_path, files)) == ['mmcv']


def test_mmseg_can_be_imported_afterwards(tmp_path):
    files = {'mmcv/ops/__init__.py': FAILS}
    code = FIX + 'import mmseg.utils\n' + REPORT
    assert output(code, write_packages(tmp_path, files)) == ['mmcv', 'mmcv.ops']


def test_modules_of_the_failed_import_are_imported_anew(tmp_path):
    files = {
        'mmcv/ops/__init__.py': 'from . import first\nfrom . import second\n',
        'mmcv/ops/first.py': SAYS_WHETHER_EXT_IS_THERE,
        'mmcv/ops/second.py': FAILS,
        'mmcv/image.py': SAYS_WHETHER_EXT_IS_THERE,
        'mmseg/utils/__init__.py': 'from . import io\nimport mmcv.ops\n',
        'mmseg/utils/io.py': '',
    }
    code = f"""
import mmcv.image
{FIX}
import mmcv.ops, mmseg.utils
same = mmcv.ops.first is sys.modules['mmcv.ops.first']
same = same and mmseg.utils.io is sys.modules['mmseg.utils.io']
print(json.dumps([same, mmcv.ops.first.EXT, mmcv.image.EXT, 'mmcv._ext' in sys.modules]))
"""
    assert output(code, write_packages(tmp_path, files)) == [True, True, False, False]


def test_imports_that_fail_for_another_reason_still_fail(tmp_path):
    write_packages(tmp_path, {'mmcv/ops/__init__.py': 'import nothing_of_that_name\n'})
    code = FIX.replace('compat.allow_mmcv_without_ops()', '')
    code += """
try:
    compat.allow_mmcv_without_ops()
except ImportError as error:
    print(json.dumps([error.name, 'mmcv._ext' in sys.modules, 'mmcv.ops' in sys.modules]))
"""
    assert output(code, tmp_path) == ['nothing_of_that_name', False, False]


def test_the_stand_in_has_every_operator_and_nothing_of_a_module():
    stand_in = compat._OpsStandIn('mmcv._ext')
    assert not hasattr(stand_in, '__path__')
    with pytest.raises(NotImplementedError, match=r"'roi_align_forward'.*install mmcv itself"):
        stand_in.roi_align_forward(1, pooled_height=2)


@pytest.mark.parametrize('names', [['mmengine'], ['mmcv'], ['mmengine', 'mmcv', 'mmseg']])
def test_missing_packages_are_named_with_the_ways_to_install_them(monkeypatch, names):
    monkeypatch.setattr(compat, 'importlib', stack_of(without=names))
    with pytest.raises(ImportError) as info:
        compat.require_packages()
    text = str(info.value)
    assert f'({"; ".join(f"{name}: none found" for name in names)})' in text
    for way in compat._WAYS.values():
        assert f'`{way}`' in text
    assert 'too old' not in text
    assert 'others' not in text


def test_what_is_missing_and_what_is_too_old_is_said_at_once(monkeypatch):
    found = stack_of(without=['ftfy', 'PIL'], torch='2.0.1+cu118', safetensors='0.3.3')
    monkeypatch.setattr(compat, 'importlib', found)
    with pytest.raises(ImportError) as info:
        compat.require_packages()
    assert str(info.value) == (
        'mmseg_ssprompt needs packages that are not there (ftfy: none found; PIL: none found; '
        'torch: 2.1 or newer is needed, torch 2.0.1+cu118 was found; safetensors: 0.4 or newer is '
        'needed, safetensors 0.3.3 was found). Installing mmseg_ssprompt changes none of them. For '
        'the others that are missing run `pip install ftfy pillow`. For what is too old run '
        '`pip install "torch>=2.1" "safetensors>=0.4"`, which replaces it; in another environment '
        'if programs here need it as it is, as a compiled mmcv needs its torch.'
    )


def test_the_fork_is_updated_by_its_own_name(monkeypatch):
    found = stack_of(**{'mmsegmentation': None, 'onedl-mmsegmentation': '1.2.0'})
    monkeypatch.setattr(compat, 'importlib', found)
    with pytest.raises(ImportError, match=r'`pip install "onedl-mmsegmentation>=1.2.2"`'):
        compat.require_packages()


@pytest.mark.parametrize('torch', ['2.1', '2.1.0a0+git1', '2.10.0', '3', None])
def test_nothing_is_required_that_is_there(monkeypatch, torch):
    """With None it was not installed by pip, which knows no version of it."""
    monkeypatch.setattr(compat, 'importlib', stack_of(torch=torch))
    compat.require_packages()


def test_importing_the_package_alone_says_what_to_install():
    """Without site-packages: no mmengine, no torch."""
    done = run('import mmseg_ssprompt', options=['-S'])
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        'ImportError: mmseg_ssprompt needs packages that are not there (mmengine: none found; '
        'mmcv: none found; mmseg: none found; torch: none found;'
    )
