"""Wrong configs and places to write end every tool with one line that says what to do."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from mmseg_ssprompt.tool_inputs import ConfigError, output_file, output_folder, read_config
from test_end_to_end.tools import ROOT

TOOLS = ROOT / 'tools'
#: Each tool with a config, and what stands before and after it.
READERS = {
    'train.py': ([], []),
    'test.py': ([], []),
    'cache_embeddings.py': ([], []),
    'check_dataset.py': ([], []),
    'sample_few_shot.py': ([], ['--out', 'out.json']),
    'prompt_checkpoint.py': (['merge'], ['prompts.pth', 'out.pth']),
    'transfer_prompts.py': (['prompts.pth'], ['--out', 'out.pth']),
    'analysis_tools/explain_prompts.py': ([], ['--out-dir', 'out']),
    'analysis_tools/map_masks.py': ([], ['--out-dir', 'out']),
    'analysis_tools/find_failures.py': ([], ['--out-dir', 'out']),
    'analysis_tools/measure_oracle.py': ([], []),
}
#: Each tool that writes, up to the name of what it writes.
FILE_WRITERS = (
    ['check_dataset.py', 'config.py', '--json'],
    ['sample_few_shot.py', 'config.py', '--out'],
    ['prompt_checkpoint.py', 'convert', 'prompts.pth'],
    ['prompt_checkpoint.py', 'merge', 'config.py', 'prompts.pth'],
    ['transfer_prompts.py', 'prompts.pth', 'config.py', '--out'],
    ['benchmark.py', 'all', '--json'],
    ['analysis_tools/measure_oracle.py', 'config.py', '--json'],
    ['analysis_tools/get_complexity.py', 'config.py', '--json'],
    ['analysis_tools/get_complexity.py', 'config.py', '--out'],
)
FOLDER_WRITERS = (
    ['test.py', 'config.py', '--out'],
    ['test.py', 'config.py', '--show-dir'],
    ['demo.py', '--work-dir'],
    ['reproduce.py', 'components', '--out-dir'],
    ['reproduce.py', 'components', '--work-dir'],
    ['analysis_tools/explain_prompts.py', 'config.py', '--out-dir'],
    ['analysis_tools/map_masks.py', 'config.py', '--out-dir'],
    ['analysis_tools/find_failures.py', 'config.py', '--out-dir'],
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a tool in this process, in a folder with a config and a file."""
    monkeypatch.chdir(tmp_path)
    for name in ('LOCAL_RANK', 'MASTER_PORT'):
        monkeypatch.setenv(name, '0')
    (tmp_path / 'config.py').write_text('x = 1\n')
    torch.save(dict(weight=torch.zeros(1)), tmp_path / 'prompts.pth')

    def run_tool(tool, *arguments):
        path = TOOLS / tool
        monkeypatch.syspath_prepend(str(path.parent))
        monkeypatch.setattr(sys, 'argv', [str(path), *arguments])
        runpy.run_path(str(path), run_name='__main__')

    return run_tool


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


@pytest.mark.parametrize('command', FILE_WRITERS)
@pytest.mark.parametrize('place', ['.', 'config.py/out.pth', '/proc/out.pth'])
def test_files_that_cannot_be_written(run, capsys, command, place):
    with pytest.raises(SystemExit, match='2'):
        run(*command, place)
    said = capsys.readouterr().err.splitlines()[-1]
    assert 'error: argument' in said
    assert 'cannot write' in said


@pytest.mark.parametrize('command', FOLDER_WRITERS)
@pytest.mark.parametrize('place', ['config.py', 'config.py/out', '/proc/out'])
def test_folders_that_cannot_be_written_into(run, capsys, command, place):
    with pytest.raises(SystemExit, match='2'):
        run(*command, place)
    assert f"cannot write into '{place}'" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('command', [FILE_WRITERS[i] for i in (0, 1, 3, 4, 6, 7, 8)])
def test_what_is_read_is_not_overwritten(run, capsys, command):
    with pytest.raises(SystemExit, match='2'):
        run(*command, './config.py')
    assert 'would overwrite what is read' in capsys.readouterr().err
    assert Path('config.py').read_text() == 'x = 1\n'


@pytest.mark.parametrize('options', [{'x.0.y': 1}])
def test_options_that_do_not_fit(tmp_path, options):
    file = tmp_path / 'config.py'
    file.write_text('x = [1]\n')
    with pytest.raises(ConfigError, match='expected options that fit it'):
        read_config(file, options)


def test_a_check_without_data_is_no_success(run):
    Path('config.py').write_text('model = dict(decode_head=dict(num_classes=1))\n')
    with pytest.raises(SystemExit, match='expected a train_, val_ or test_dataloader'):
        run('check_dataset.py', 'config.py')


def test_good_places_are_made(tmp_path):
    assert output_file(str(tmp_path / 'a b' / 'ü.json')).parent.is_dir()
    assert output_folder(str(tmp_path / 'c' / 'd')).is_dir()
    assert not list(tmp_path.rglob('*.*'))
