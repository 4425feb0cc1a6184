"""How commands end that go wrong: one message, and a status."""

import argparse
import errno

import pytest

from mmseg_ssprompt.cli.messages import in_one_message

ARGS = argparse.Namespace(command='paint', out='folder')
FULL = OSError(errno.EDQUOT, 'Disk quota exceeded', 'folder/a')


@pytest.mark.parametrize(
    ('error', 'goes_on', 'status', 'message'),
    [
        (ValueError('the colour is wrong'), True, 1, 'mmseg-ssprompt paint: the colour is wrong'),
        (FileNotFoundError('no canvas'), False, 1, 'mmseg-ssprompt paint: no canvas'),
        (
            PermissionError(errno.EACCES, 'Permission denied', 'wall'),
            *(False, 1, "mmseg-ssprompt paint: Permission denied: 'wall'"),
        ),
        (
            *(FULL, False, 1),
            "mmseg-ssprompt paint: Disk quota exceeded: 'folder/a'. Make room, and give the same "
            'command again',
        ),
        (
            *(FULL, True, 1),
            "mmseg-ssprompt paint: Disk quota exceeded: 'folder/a'. Make room, and give the same "
            "command again, which goes on in 'folder'",
        ),
        (KeyboardInterrupt(), False, 130, 'interrupted'),
        (KeyboardInterrupt(), True, 130, 'interrupted: the same command goes on in folder'),
    ],
)
def test_a_command_ends_with_one_message_and_a_status(capsys, error, goes_on, status, message):
    @in_one_message(goes_on)
    def run(args):
        raise error

    assert run(ARGS) == status
    assert capsys.readouterr() == ('', message + '\n')


def test_mistakes_of_the_program_keep_their_traceback(capsys):
    @in_one_message()
    def run(args):
        raise AssertionError

    with pytest.raises(AssertionError):
        run(ARGS)
    assert capsys.readouterr().err == ''


def test_a_status_of_its_own_is_kept():
    assert in_one_message()(lambda args: 3)(ARGS) == 3
