"""Files are written as a whole, and what was left of others is told from what is being written."""

import os
import socket
import time
from pathlib import Path
from typing import List

import pytest

from ended_process import ended_process
from mmseg_ssprompt.files import (
    check_writable,
    completing,
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


def test_leftovers_of_folders(tmp_path):
    folder = tmp_path / f'out.{socket.gethostname()}.{ended_process()}.{"0" * 32}.tmp'
    folder.mkdir()
    (folder / 'half').touch()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def names_in(folder: Path) -> List[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob('*'))


@pytest.mark.parametrize('there', [False, True])
def test_a_folder_appears_when_it_is_complete(tmp_path, there):
    out = tmp_path / 'out'
    if there:
        out.mkdir()
    before = names_in(tmp_path)

    def fail():
        with completing(out) as temporary:
            (temporary / 'half').touch()
            assert temporary.parent == tmp_path and not (out / 'half').exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert names_in(tmp_path) == before
    inode = out.stat().st_ino if there else None
    with completing(out) as temporary:
        (temporary / 'inner').mkdir()
        (temporary / 'inner' / 'whole').touch()
    assert names_in(tmp_path) == ['out', 'out/inner', 'out/inner/whole']
    assert out.stat().st_mode == tmp_path.joinpath('out', 'inner').stat().st_mode
    assert inode in (None, out.stat().st_ino)  # a shell that stands there sees the files


def test_an_earlier_folder_is_replaced_through_a_link(tmp_path):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to('real')
    for name in ('old', 'both', 'of others'):
        (tmp_path / 'real' / name).write_text('first')
    with completing(tmp_path / 'link', replaces=['old', 'both', 'new']) as temporary:
        (temporary / 'both').write_text('second')
        (temporary / 'new').write_text('second')
    assert names_in(tmp_path) == ['link', 'real', 'real/both', 'real/new', 'real/of others']
    assert (tmp_path / 'real' / 'both').read_text() == 'second'


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
    with pytest.raises(ValueError, match=r"a\.json': expected JSON, found none"):
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
