"""Images that are in two data sets are found by path, or by name and content."""

from pathlib import Path
from typing import List

from mmseg_ssprompt.cli.check_data import find_shared_images


def write(folder: Path, **contents: bytes) -> List[str]:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [str(folder / name) for name in contents]


def test_copies_under_the_same_name(tmp_path):
    train = write(tmp_path / 'train', a=b'one', b=b'two', c=b'six')
    val = write(tmp_path / 'val', a=b'one', b=b'2', c=b'ten', d=b'one')
    assert find_shared_images(train, val) == [(train[0], val[0])]


def test_the_same_name_in_many_folders(tmp_path):
    train = [*write(tmp_path / '1', a=b'one'), *write(tmp_path / '2', a=b'two')]
    val = [*write(tmp_path / '3', a=b'two'), *write(tmp_path / '4', a=b'six')]
    assert find_shared_images(train, val) == [(train[1], val[0])]


def test_the_same_path(tmp_path):
    train = write(tmp_path / 'train', a=b'one', b=b'two')
    assert find_shared_images(train, train[1:]) == [(train[1], train[1])]


def test_paths_of_other_storage():
    assert find_shared_images(['s3://a', 's3://b/c'], ['s3://c', 's3://a']) == [('s3://a',) * 2]
    assert find_shared_images([], ['s3://c']) == []
