"""What the command fit says of bad input: one message, status 1, and nothing is changed."""

import errno
import subprocess
from pathlib import Path
from typing import Any, Dict

import pytest

from fit_trees import CLASSES, make_photographs
from mmseg_ssprompt.cli import fit as command
from mmseg_ssprompt.cli.parser import run_command
from mmseg_ssprompt.files import take_lock
from mmseg_ssprompt.fitting.fit import _lock
from mmseg_ssprompt.outputs import OutputError


def run(root: Path, *arguments: Any) -> Any:
    data = ['--images', root / 'photos', '--labels', root / 'labels', '--classes', 'sky,road,car']
    return run_command([str(each) for each in ('fit', *data, '--out', root / 'out', *arguments)])


def files_of(root: Path) -> Dict[Path, bytes]:
    return {file: file.read_bytes() for file in root.rglob('*') if file.is_file()}


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--classes', 'sky,road,car,dragon'], "the classes 'dragon' (id 3) have no pixels"),
        (['--base', 'sam-vit-b'], 'needs files that are not there: 2'),
        (['--clip-weights', 'clip.pt'], '--clip-weights: expected no file'),
        (['--device', 'cuda:77'], "--device 'cuda:77': expected cpu, or a GPU"),
        (['--device', 'abacus'], "--device 'abacus': expected cpu, or a GPU"),
        (['--images', 'nowhere'], "--images: expected a folder of pictures, but '"),
    ],
)
def test_bad_input_ends_in_one_message(tmp_path, capsys, arguments, expected):
    before = files_of(make_photographs(tmp_path, 4))
    assert run(tmp_path, *arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith('mmseg-ssprompt fit: ') and expected in said
    assert 'Traceback' not in said and '[Errno' not in said
    after = files_of(tmp_path)
    assert {file: after[file] for file in before} == before


def test_a_seed_and_shots_are_numbers(tmp_path, capsys):
    for arguments in (('--shots', '0'), ('--seed', '-1'), ('--task', 'depth')):
        with pytest.raises(SystemExit):
            run(tmp_path, *arguments)
    assert 'at least 1' in capsys.readouterr().err


def test_what_the_command_takes_is_what_the_function_takes(tmp_path, monkeypatch):
    taken: Dict[str, Any] = {}

    def fit(images, labels=None, classes=None, val=None, *, out):
        taken.update(locals())

    monkeypatch.setattr(command, 'fit', fit)
    assert run(tmp_path, '--val', '0.3') is None
    assert taken['classes'] == ','.join(CLASSES) and taken['val'] == '0.3'


def test_an_interruption_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def fit(*, out):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, 'fit', fit)
    assert run(tmp_path) == 130
    assert 'the same command goes on where it was' in capsys.readouterr().err


def test_a_folder_where_another_process_fits_is_refused(tmp_path):
    lock = take_lock(tmp_path / 'fit.lock')
    with pytest.raises(OutputError, match='expected no other process there, found one that fits'):
        with _lock(tmp_path):
            pass
    lock.release()
    with _lock(tmp_path):
        assert take_lock(tmp_path / 'fit.lock') is None
    take_lock(tmp_path / 'fit.lock').release()


def test_a_full_disk_is_said_with_what_to_do(tmp_path, monkeypatch, capsys):
    def fit(*, out):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(command, 'fit', fit)
    assert run(tmp_path) == 1
    assert (
        'No space left on device. Make room, and give the same command again, which goes'
        in capsys.readouterr().err
    )


@pytest.mark.process
@pytest.mark.parametrize(('options', 'expected'), [('ro', 'Read-only'), ('size=4k', 'Make room')])
def test_a_disk_that_cannot_be_written(tmp_path, capsys, options, expected):
    """Root too: a small disk, or one that may be read only, is mounted where that can be done."""
    before = files_of(make_photographs(tmp_path, 4))
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f'nothing may be mounted here: {done.stderr.strip()}')
    try:
        assert run(tmp_path, '--out', disk / 'out') == 1
        assert expected in capsys.readouterr().err
    finally:
        subprocess.run(['umount', str(disk)], check=True)
    assert files_of(tmp_path) == before
