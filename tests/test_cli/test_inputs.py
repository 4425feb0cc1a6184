"""Wrong configs and places to write end every command with a line that says what to do."""

from pathlib import Path

import pytest
import torch

from commands import run_here
from mmseg_ssprompt.cli.inputs import ConfigError, prepare_outputs, read_config
from mmseg_ssprompt.cli.parser import output_file, output_folder
from mmseg_ssprompt.outputs import find_inputs

#: Each command with a config, and what stands before and after it.
READERS = {
    'train.py': ([], []),
    'test.py': ([], []),
    'cache': ([], []),
    'check-data': ([], []),
    'few-shot': ([], ['--out', 'out.json']),
    'prompts merge': ([], ['prompts.pth', 'out.pth']),
    'prompts transfer': (['prompts.pth'], ['--out', 'out.pth']),
    'explain': ([], ['--out-dir', 'out']),
    'masks': ([], ['--out-dir', 'out']),
    'failures': ([], ['--out-dir', 'out']),
    'oracle': ([], []),
}
#: Each tool that writes, up to the name of what it writes.
FILE_WRITERS = (
    ['check-data', 'config.py', '--json'],
    ['few-shot', 'config.py', '--out'],
    ['prompts convert', 'prompts.pth'],
    ['prompts merge', 'config.py', 'prompts.pth'],
    ['prompts transfer', 'prompts.pth', 'config.py', '--out'],
    ['dev.benchmark', 'all', '--json'],
    ['oracle', 'config.py', '--json'],
    ['complexity', 'config.py', '--json'],
    ['complexity', 'config.py', '--out'],
)
#: What their names end with.
SUFFIXES = ('.json', '.json', '.pth', '.pth', '.pth', '.json', '.json', '.json', '.md')
FOLDER_WRITERS = (
    ['test.py', 'config.py', '--out'],
    ['test.py', 'config.py', '--show-dir'],
    ['demo', '--work-dir'],
    ['dev.reproduce', 'components', '--out-dir'],
    ['dev.reproduce', 'components', '--work-dir'],
    ['explain', 'config.py', '--out-dir'],
    ['masks', 'config.py', '--out-dir'],
    ['failures', 'config.py', '--out-dir'],
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in this process, in a folder with a config and a file."""
    monkeypatch.chdir(tmp_path)
    for name in ('LOCAL_RANK', 'MASTER_PORT'):
        monkeypatch.setenv(name, '0')
    (tmp_path / 'config.py').write_text('x = 1\n')
    torch.save(dict(weight=torch.zeros(1)), tmp_path / 'prompts.pth')
    return run_here


@pytest.mark.parametrize('tool', READERS)
def test_configs_that_lack_what_is_needed(run, tool):
    """A config without a model, or without data."""
    before, after = READERS[tool]
    with pytest.raises(ConfigError, match=r"config 'config\.py': expected the settings .*found"):
        run(tool, *before, 'config.py', *after)


@pytest.mark.parametrize('tool', READERS)
@pytest.mark.parametrize(
    ('name', 'content', 'error', 'found'),
    [
        ('none.py', None, FileNotFoundError, 'does not exist'),
        ('a folder', '', FileNotFoundError, 'is a folder'),
        ('ein Köfferchen.py', 'x = (', ConfigError, 'cannot be read .SyntaxError'),
        ('config.txt', 'x = 1', ConfigError, 'cannot be read'),
        ('empty.json', '', ConfigError, 'cannot be read'),
    ],
)
def test_configs_that_cannot_be_read(run, tool, name, content, error, found):
    if name == 'a folder':
        Path(name).mkdir()
    elif content is not None:
        Path(name).write_text(content, encoding='utf-8')
    before, after = READERS[tool]
    with pytest.raises(error, match=found) as caught:
        run(tool, *before, name, *after)
    assert f'config {name!r}' in str(caught.value)


@pytest.mark.parametrize(('command', 'suffix'), list(zip(FILE_WRITERS, SUFFIXES)))
def test_files_that_cannot_be_written(run, capsys, command, suffix):
    Path(f'folder{suffix}').mkdir()
    for place in (f'folder{suffix}', f'config.py/out{suffix}'):
        with pytest.raises(SystemExit, match='2'):
            run(*command, place)
        said = capsys.readouterr().err.splitlines()[-1]
        assert 'error: argument' in said
        assert 'cannot write' in said


@pytest.mark.parametrize(('command', 'suffix'), list(zip(FILE_WRITERS, SUFFIXES)))
def test_names_of_other_kinds_of_files(run, capsys, command, suffix):
    with pytest.raises(SystemExit, match='2'):
        run(*command, 'picture.png')
    said = f"'picture.png': expected a name that ends with {suffix}"
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('command', FOLDER_WRITERS)
@pytest.mark.parametrize('place', ['config.py', 'config.py/out'])
def test_folders_that_cannot_be_written_into(run, capsys, command, place):
    with pytest.raises(SystemExit, match='2'):
        run(*command, place)
    assert f"cannot write into '{place}'" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('place', ['/proc/out/file.json', '/proc/out.json'])
def test_places_that_refuse_to_be_written(place):
    with pytest.raises(OSError, match='cannot write into .*/proc'):
        prepare_outputs({'--json': Path(place)}, find_inputs())


def test_options_that_do_not_fit(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text('x = [1]\n')
    with pytest.raises(ConfigError, match=r'expected options that fit it .*found x\.0\.y=1 '):
        read_config(file, ['x.0.y=1'])


def test_options_are_what_mmengine_makes_of_them(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text('x = dict(y=1, z=[1])\n')
    cfg = read_config(file, ['x.y=2.5', 'x.z=[3,(4,a)]', 'w=False'])
    assert (cfg.x.y, cfg.x.z, cfg.w) == (2.5, [3, (4, 'a')], False)


def test_a_check_without_data_is_no_success(run):
    Path('config.py').write_text('model = dict(decode_head=dict(num_classes=1))\n')
    with pytest.raises(ConfigError, match='expected a train_, val_ or test_dataloader'):
        run('check-data', 'config.py')


def test_good_places_are_made(tmp_path):
    outputs = {
        '--json': output_file('.json')(str(tmp_path / 'a b' / 'ü.json')),
        '--out': output_folder(str(tmp_path / 'c' / 'd')),
        '--words': None,
    }
    assert not any(tmp_path.iterdir())
    prepare_outputs(outputs, find_inputs(), ['--out'])
    assert (tmp_path / 'a b').is_dir()
    assert (tmp_path / 'c' / 'd').is_dir()
    assert not list(tmp_path.rglob('*.*'))
