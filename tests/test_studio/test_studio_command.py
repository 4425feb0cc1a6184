"""The command: what is wrong is one line and status 1, before anything is served."""

import importlib.util
import re
import socket
from pathlib import Path

import pytest

import mmseg_ssprompt
from mmseg_ssprompt.cli.parser import run_command
from mmseg_ssprompt.config_files import find_config
from studio_models import DEMO_CONFIG, DEMO_PROMPTS


def run(capsys, *arguments):
    status = run_command(['studio', *map(str, arguments)])
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['no_such_folder'], "model 'no_such_folder' does not exist"),
        ([DEMO_CONFIG], 'file of trained prompts too'),
        ([DEMO_CONFIG, '--prompts', 'none.pth'], "prompts 'none.pth': expected a file"),
        (['--prompts', DEMO_PROMPTS], '--prompts FILE belongs to a config'),
        (['--compare', 'none.pth'], "--compare 'none.pth'"),
        (['--compare', DEMO_CONFIG], 'ssprompt_sam-tiny_shapes.py'),
        (['--device', 'quantum'], "device 'quantum'"),
    ],
)
def test_wrong_arguments_are_said_in_a_line(capsys, arguments, message):
    status, error = run(capsys, *arguments)
    assert status == 1
    assert message in error
    assert error.startswith('mmseg-ssprompt studio: ')
    assert 'Traceback' not in error


def test_prompts_of_another_base_model_are_not_compared(capsys):
    seem = find_config('ssprompt_seem-tiny_shapes_zero-shot')
    status, error = run(capsys, seem, '--compare', DEMO_PROMPTS)
    assert status == 1
    assert 'prompts-tiny_shapes.safetensors' in error


def test_a_port_that_is_taken_is_said_before_the_model_is_built(capsys, monkeypatch):
    monkeypatch.setattr('mmseg_ssprompt.studio.studio_model.StudioModel', None)
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, error = run(capsys, '--port', port)
    assert status == 1
    assert f'port {port} of 127.0.0.1 cannot be used' in error


def test_without_gradio_one_line_says_how_to_get_it(capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name, *a: None if name == 'gradio' else find(name, *a)
    )
    status, error = run(capsys)
    assert status == 1
    assert error.count('\n') == 1
    assert 'pip install "gradio>=6.0" (the extra [studio])' in error


def test_gradio_is_imported_by_page_and_server_alone():
    """So that all else is tested, and used by others, without it."""
    files = sorted((Path(mmseg_ssprompt.__file__).parent).rglob('*.py'))
    importing = [
        file.name
        for file in files
        if re.search(r'^\s*(import|from) (gradio|starlette)', file.read_text('utf-8'), re.MULTILINE)
    ]
    assert importing == ['page.py', 'server.py']
