"""Files are written as a whole, and what was left of others is told from what is being written."""

import os
import socket
import time
from pathlib import Path

import pytest

from ended_process import ended_process
from mmseg_ssprompt.files import (
    check_writable,
    read_json,
    remove_leftovers,
    take_lock,
    write_atomically,
    write_json,
)


def left(folder: Path, host: str, pid: int, age: float = 0) -> Path:
    file = folder / f'a.json.{host}.{pid}.{"0" * 32}.tmp'
    file.write_bytes(b'{')
    os.utime(file, (time.time() - age,) * 2)
    return file


@pytest.mark.parametrize(
    ('host', 'pid', 'age', 'removed'),
    [
        (socket.gethostname(), 'ended', 0, True),
        (socket.gethostname(), 'running', 0, False),
        (socket.gethostname(), 'running', 10**6, False),
        ('elsewhere', 'ended', 0, False),
        ('elsewhere', 'running', 0, False),
        ('elsewhere', 'ended', 25 * 3600, True),
        (socket.gethostname(), 10**30, 0, False),
    ],
)
def test_leftovers(tmp_path, host, pid, age, removed):
    pid = dict(ended=ended_process(), running=os.getpid()).get(pid, pid)
    file = left(tmp_path, host, pid, age)
    other = tmp_path / 'a.json'
    other.touch()
    remove_leftovers(tmp_path)
    assert file.exists() != removed
    assert other.exists()


def test_files_under_other_names_stay(tmp_path):
    """They may be anybody's, such as weights that somebody called so."""
    old = tmp_path / 'sam.tmp'
    old.touch()
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [old]


def test_what_is_being_written_is_no_leftover(tmp_path, monkeypatch):
    """Another process finishes a cache meanwhile."""
    replace = os.replace

    def finish_meanwhile(*args):
        remove_leftovers(tmp_path)
        replace(*args)

    monkeypatch.setattr(os, 'replace', finish_meanwhile)
    write_atomically(tmp_path / 'a', b'content')
    assert (tmp_path / 'a').read_bytes() == b'content'
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_to_write_into(tmp_path):
    check_writable(tmp_path / 'new' / 'folder')
    assert list((tmp_path / 'new' / 'folder').iterdir()) == []
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match=r"cannot write into '.*file': expected a folder"):
        check_writable(tmp_path / 'file')


def test_json_is_read_as_it_was_written(tmp_path):
    file = tmp_path / 'new' / 'a.json'
    assert read_json(file) is None
    write_json(dict(a=float('nan'), b=('ü', 1)), file)
    assert read_json(file) == dict(a=None, b=['ü', 1])
    file.write_text('{')
    with pytest.raises(ValueError):
        read_json(file)


def test_a_lock_is_taken_once_unless_it_is_said(tmp_path):
    lock = take_lock(tmp_path / 'a.lock')
    assert take_lock(tmp_path / 'a.lock') is None
    lock.release()
    locks = [take_lock(tmp_path / 'a.lock', again=True) for _ in range(2)]
    assert take_lock(tmp_path / 'a.lock') is None
    for each in locks:
        each.release()
    take_lock(tmp_path / 'a.lock').release()
