"""From an empty folder, in an environment made from the wheel alone, everything runs."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from wheels import PIP, build_wheel, make_environment

pytestmark = pytest.mark.slow

NAME = 'ssprompt_sam-tiny_shapes'
#: Options that make a training of that config short.
SHORT = (
    *('train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2'),
    *('train_dataloader.dataset.num_images=4', 'val_dataloader.dataset.num_images=2'),
    'test_dataloader.dataset.num_images=2',
)
INFERENCE = """
import sys
import numpy as np
import mmseg_ssprompt
from mmseg.apis import MMSegInferencer

inferencer = MMSegInferencer(sys.argv[1], device='cpu')
image = np.zeros((40, 60, 3), np.uint8)
print(mmseg_ssprompt.__file__, inferencer(image)['predictions'].shape)
"""


@pytest.fixture(scope='module')
def programs(tmp_path_factory) -> Path:
    """The programs of the environment."""
    folder = tmp_path_factory.mktemp('wheel')
    wheel = build_wheel(folder, tmp_path_factory.mktemp('checkout'))
    return make_environment(folder / 'environment', wheel)


@pytest.fixture
def run(programs, tmp_path) -> Callable[..., str]:
    """Run a program of the environment in an empty folder, and return what it prints."""
    kept = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    environment = dict(kept, PATH=f'{programs}:{kept["PATH"]}', OMP_NUM_THREADS='1')

    def call(program: str, *arguments: Any) -> str:
        done = subprocess.run(
            [str(programs / program), *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output[-6000:]
        return output

    return call


@pytest.fixture
def config(run) -> Path:
    """The path of a config, as the command prints it."""
    return Path(run('mmseg-ssprompt', 'configs', '--path', NAME).strip())


def test_configs_are_in_the_package_and_can_be_inherited(run, config, programs, tmp_path):
    assert programs.parent in config.parents
    assert config.parent.parent.name == '.mim'
    run('mmseg-ssprompt', 'configs', '--copy', NAME, 'mine.py')
    with open(tmp_path / 'mine.py', 'a') as file:
        file.write("work_dir = 'mine'\n")
    code = (
        'import sys; from mmengine.config import Config; '
        'print(*(Config.fromfile(path).model.type for path in sys.argv[1:]))'
    )
    assert run('python', '-c', code, config, 'mine.py').split() == 2 * ['PromptSegmentor']
    listed = run('mmseg-ssprompt', 'configs').splitlines()
    assert any(line.startswith(NAME) for line in listed)


def test_files_that_are_no_modules_are_there(config):
    package = config.parents[2]
    assert (package / 'py.typed').is_file()
    assert (package / '.mim' / 'model-index.yml').is_file()
    assert {'train.py', 'test.py', 'dist_train.sh', 'slurm_test.sh', 'sbatch'} <= {
        path.name for path in (package / '.mim' / 'tools').iterdir()
    }
    (metadata,) = package.parent.glob('mmseg_ssprompt-*.dist-info')
    assert (metadata / 'licenses' / 'LICENSE').is_file() or (metadata / 'LICENSE').is_file()


@pytest.mark.timeout(1500)
def test_demo(run, tmp_path):
    printed = run('mmseg-ssprompt', 'demo')
    assert 'work_dirs/demo/summary.json' in printed
    summary = json.loads((tmp_path / 'work_dirs' / 'demo' / 'summary.json').read_text())
    assert summary['ssprompt_miou'] > summary['zero_shot_miou']
    assert (tmp_path / 'work_dirs' / 'demo' / 'comparison.png').is_file()
    assert run('mmseg-ssprompt', 'prompts', 'inspect', summary['checkpoint'])


def test_check_data(run, config):
    assert '0 errors' in run('python', '-m', 'mmseg_ssprompt', 'check-data', config)


def test_mmseg_s_own_tools(run, config, tmp_path):
    assert 'analysis_tools/get_flops' in run('mmseg-ssprompt', 'mmseg')
    assert 'PromptSegmentor' in run('mmseg-ssprompt', 'mmseg', 'print_config', config)
    pictures = ('--output-dir', 'pictures', '--not-show', '--cfg-options', SHORT[3])
    run('mmseg-ssprompt', 'mmseg', 'browse_dataset', config, *pictures)
    assert len(list((tmp_path / 'pictures').iterdir())) == 4
    assert 'Flops' in run('mmseg-ssprompt', 'mmseg', 'get_flops', config, '--shape', 96, 96)


def test_inferencer(run, config, programs):
    printed = run('python', '-c', INFERENCE, config)  # among the progress and warnings of others
    (file,) = re.findall(r'^.*?(/\S+) \(40, 60\)$', printed, flags=re.MULTILINE)
    assert programs.parent in Path(file).parents


def test_openmim(run, programs, config, tmp_path):
    """With the ``setuptools`` that still has pkg_resources, which openmim imports."""
    install = ['--python', str(programs / 'python'), 'install', '--quiet', 'openmim==0.3.9']
    done = subprocess.run([*PIP, *install, 'setuptools<81'], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f'openmim cannot be installed: {done.stderr[-300:]}')
    assert NAME in run('mim', 'search', 'mmseg_ssprompt')
    options = ('--work-dir', 'work', '--cfg-options', *SHORT)
    run('mim', 'train', 'mmseg_ssprompt', f'{NAME}.py', '--gpus', 0, *options)
    assert (tmp_path / 'work' / 'last_checkpoint').is_file()
