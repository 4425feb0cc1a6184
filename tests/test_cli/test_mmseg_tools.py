"""Tools of mmseg are found by their names, and run with the arguments that follow."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec

import pytest
from mmengine import analysis

from commands import run_here
from mmseg_ssprompt.cli.mmseg_tools import find_tool, list_tools
from tiny_model import CONFIG


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """The command takes the process over: its arguments and its path of modules."""
    monkeypatch.setattr(sys, 'argv', list(sys.argv))
    monkeypatch.setattr(sys, 'path', list(sys.path))


def test_print_config(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_here('mmseg', 'print_config', CONFIG, '--cfg-options', 'work_dir=here')
    assert "work_dir='here'" in capsys.readouterr().out.replace(' ', '')


def test_get_flops(capsys):
    """It fails with mmseg 1.2.2 and mmengine 0.10, whatever the model, unless it is helped."""
    measure = analysis.get_model_complexity_info
    run_here('mmseg', 'get_flops', CONFIG, '--shape', 96, 96)
    assert 'Flops: ' in capsys.readouterr().out
    assert analysis.get_model_complexity_info is measure


def test_the_help_of_a_tool_is_its_own(capsys):
    with pytest.raises(SystemExit, match='0'):
        run_here('mmseg', 'get_flops', '--help')
    assert '--shape' in capsys.readouterr().out


def test_names():
    tools = list_tools()
    for name in ('browse_dataset', 'browse_dataset.py', 'analysis_tools/browse_dataset'):
        assert find_tool(name) == tools['analysis_tools/browse_dataset']
    assert find_tool('misc/browse_dataset.py') == tools['misc/browse_dataset']
    with pytest.raises(ValueError, match=r"'cook': expected one of the tools that `mmseg-ssprompt"):
        find_tool('cook')


def test_mmseg_without_its_tools(tmp_path, monkeypatch):
    spec = ModuleSpec('mmseg', None, origin=str(tmp_path / 'mmseg' / '__init__.py'))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: spec)
    with pytest.raises(
        FileNotFoundError, match=r'mmseg/\.mim/tools.*found none\. Install it from its w'
    ):
        list_tools()
