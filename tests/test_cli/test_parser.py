"""The command line is parsed before the package is imported, and says what it takes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmseg_ssprompt_command
from commands import run_here
from mmseg_ssprompt import __version__
from mmseg_ssprompt.analysis.complexity.cost import MEASURES
from mmseg_ssprompt.cli import parser
from mmseg_ssprompt.cli.parser import config_commands, model_commands
from mmseg_ssprompt.datasets import few_shot_manifest
from mmseg_ssprompt.export import exporting
from mmseg_ssprompt.fitting import bases, fit_data
from mmseg_ssprompt.prompt_files import prompt_file, transfer

ROOT = Path(parser.__file__).resolve().parents[3]
COMMANDS = (
    *(
        'demo',
        'example',
        'fit',
        'predict',
        'studio',
        'export',
        'publish',
        'configs',
        'check-data',
        'few-shot',
        'cache',
    ),
    *('explain', 'masks', 'failures', 'oracle', 'complexity', 'mmseg'),
    *(f'prompts {action}' for action in ('inspect', 'convert', 'merge', 'transfer')),
)
#: Prints which of these are imported once a command line was parsed.
LAUNCH = """
import sys
import mmseg_ssprompt_command
try:
    mmseg_ssprompt_command.main()
except SystemExit as left:
    assert not left.code, left.code
print(sorted({'mmseg_ssprompt', 'torch', 'mmengine', 'numpy'} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    'arguments',
    [['--help'], ['--version'], ['cache', '--help'], ['configs'], ['configs', '--path', 'sam_x']],
    ids=' '.join,
)
def test_the_console_script_needs_the_package_for_its_work_alone(arguments):
    """Otherwise ``--help`` takes the time of importing torch and mmseg."""
    command = [sys.executable, '-c', LAUNCH, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if 'sam_x' in arguments:
        assert "config 'sam_x': expected a name that `mmseg-ssprompt configs` lists" in done.stderr
    else:
        assert done.stdout.splitlines()[-1] == '[]', done.stderr


def test_the_console_script_runs_commands(capsys):
    with pytest.raises(SystemExit, match="'configs/none.py' does not exist|2"):
        mmseg_ssprompt_command.main(['complexity', 'configs/none.py'])
    assert "config 'configs/none.py' does not exist" in capsys.readouterr().err
    assert mmseg_ssprompt_command.main(['mmseg']) is None
    assert 'misc/print_config' in capsys.readouterr().out.splitlines()


def test_python_runs_the_package(monkeypatch, capsys):
    import runpy

    monkeypatch.setattr(sys, 'argv', ['mmseg_ssprompt', '--version'])
    with pytest.raises(SystemExit, match='0'):
        runpy.run_module('mmseg_ssprompt', run_name='__main__')
    assert capsys.readouterr().out == f'mmseg-ssprompt {__version__}\n'


@pytest.mark.parametrize('name', COMMANDS)
def test_each_command_has_a_module_and_help(name, capsys):
    with pytest.raises(SystemExit, match='0'):
        run_here(name, '--help')
    assert f'usage: mmseg-ssprompt {name} ' in capsys.readouterr().out
    subparser = parser.build_parser()
    for word in name.split():
        (action,) = (a for a in subparser._actions if a.choices and word in a.choices)
        subparser = action.choices[word]
    assert callable(parser._load(subparser.get_default('module')).run)


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit, match='0'):
        run_here('', '--help')
    listed = re.findall(r'^    (\S+)', capsys.readouterr().out, flags=re.MULTILINE)
    assert set(listed) == {name.split()[0] for name in COMMANDS}


def test_what_the_parser_knows_is_what_the_package_says():
    """It imports nothing of the package, so that it has copies."""
    assert config_commands.PROMPT_SUFFIXES == prompt_file.SUFFIXES
    assert config_commands.PROMPT_PARTS == transfer.PARTS
    assert config_commands.UNITS == few_shot_manifest.UNITS
    assert model_commands.TASKS == fit_data.TASKS
    assert sorted(model_commands.BASES) == sorted(bases.BASES)
    assert ('auto', *bases.ARMS) == model_commands.METHODS
    assert model_commands.FORMATS == exporting.FORMATS
    assert model_commands.PRECISIONS == exporting.PRECISIONS
    (subparsers,) = (a for a in parser.build_parser()._actions if a.dest == 'command')
    opset = next(a for a in subparsers.choices['export']._actions if a.dest == 'opset')
    assert opset.default == exporting.OPSET
    phase = next(a for a in subparsers.choices['complexity']._actions if a.dest == 'phase')
    assert set(phase.choices) == set(MEASURES)


@pytest.mark.parametrize(
    ('command', 'said'),
    [
        (['cache', 'c.py', '--cfg-options', 'x'], "--cfg-options: expected key=value, found 'x'"),
        (['failures', 'c.py', '--out-dir', 'o', '--worst', '0'], "at least 1, found '0'"),
        (['complexity', __file__, '--images', 'two'], "at least 1, found 'two'"),
        (['prompts'], 'the following arguments are required: ACTION'),
        ([], 'the following arguments are required: COMMAND'),
        (['configs', '--path', 'a', '--copy', 'a', 'b'], 'not allowed with argument --path'),
    ],
)
def test_wrong_command_lines(command, said, capsys):
    with pytest.raises(SystemExit, match='2'):
        parser.main(command)
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_cfg_options_add_up():
    command = ['cache', 'c.py', '--cfg-options', 'a=1', 'b=[1,2]', '--cfg-options', 'a=x=y']
    args = parser.build_parser().parse_args(command)
    assert args.cfg_options == ['a=1', 'b=[1,2]', 'a=x=y']
