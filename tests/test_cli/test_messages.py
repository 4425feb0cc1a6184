"""How commands end that go wrong: one message, and a status."""

import errno
from types import SimpleNamespace

import pytest

from mmseg_ssprompt.cli import parser

CONFIGS = ['configs']  # does not go on
FIT = ['fit', '--images', 'a', '--out', 'b']
FULL = OSError(errno.EDQUOT, 'Disk quota exceeded', 'folder/a')


@pytest.fixture
def run(monkeypatch):
    """Run a command whose work is another function."""

    def run(command, work):
        monkeypatch.setattr(parser, '_load', lambda module: SimpleNamespace(run=work))
        return parser.run_command(command)

    return run


@pytest.mark.parametrize(
    ('error', 'command', 'status', 'message'),
    [
        (ValueError('it is wrong'), FIT, 1, 'mmseg-ssprompt fit: it is wrong'),
        (FileNotFoundError('no canvas'), CONFIGS, 1, 'mmseg-ssprompt configs: no canvas'),
        (
            PermissionError(errno.EACCES, 'Permission denied', 'wall'),
            *(CONFIGS, 1, "mmseg-ssprompt configs: Permission denied: 'wall'"),
        ),
        (
            *(FULL, CONFIGS, 1),
            "mmseg-ssprompt configs: Disk quota exceeded: 'folder/a'. Make room, and give the same "
            'command again',
        ),
        (
            *(FULL, FIT, 1),
            "mmseg-ssprompt fit: Disk quota exceeded: 'folder/a'. Make room, and give the same "
            'command again, which goes on where it was',
        ),
        (KeyboardInterrupt(), CONFIGS, 130, 'interrupted'),
        (
            *(KeyboardInterrupt(), FIT, 130),
            'interrupted: the same command goes on where it was',
        ),
    ],
)
def test_a_command_ends_with_one_message_and_a_status(run, capsys, error, command, status, message):
    def work(args):
        raise error

    assert run(command, work) == status
    assert capsys.readouterr() == ('', message + '\n')


def test_mistakes_of_the_program_keep_their_traceback(run, capsys):
    def work(args):
        raise AssertionError

    with pytest.raises(AssertionError):
        run(CONFIGS, work)
    assert capsys.readouterr().err == ''


def test_a_status_of_its_own_is_kept(run):
    assert run(CONFIGS, lambda args: 3) == 3
