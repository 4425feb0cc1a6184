"""Photographs for those who have none."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import run_here
from mmseg_ssprompt.cli.parser import build_parser, run_command


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('example') / 'of mine'
    run_here('example', str(folder))
    return folder


def read(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture)


def test_each_photograph_has_a_label_map_of_the_classes(folder):
    photos, labels = sorted((folder / 'photos').iterdir()), sorted((folder / 'labels').iterdir())
    assert [photo.name for photo in photos] == [label.name for label in labels]
    assert len(photos) == 40
    classes = (folder / 'classes.txt').read_text().split('\n')[:-1]
    found = {int(number) for label in labels for number in np.unique(read(label))}
    assert found == set(range(len(classes)))
    assert {read(photo).shape for photo in photos} == {(96, 96, 3)}
    assert {read(label).shape for label in labels} == {(96, 96)}


def test_new_photographs_are_others(folder):
    known = {read(photo).tobytes() for photo in (folder / 'photos').iterdir()}
    new = {read(photo).tobytes() for photo in (folder / 'new_photos').iterdir()}
    assert len(new) == 6
    assert not known & new


def test_they_are_the_same_everywhere(folder, tmp_path, capsys):
    run_here('example', str(tmp_path / 'again'))
    for file in folder.rglob('*.*'):
        again = tmp_path / 'again' / file.relative_to(folder)
        assert again.read_bytes() == file.read_bytes()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if ' fit ' in line]
    args = build_parser().parse_args(shlex.split(line)[1:])
    assert all(Path(path).exists() for path in (args.images, args.labels, args.classes))


@pytest.mark.parametrize('kind', ['folder', 'file'])
def test_nothing_is_written_over(tmp_path, capsys, kind):
    taken = tmp_path / 'taken'
    if kind == 'folder':
        taken.mkdir()
        (taken / 'mine.txt').write_text('mine')
        assert run_command(['example', str(taken)]) == 1
        assert 'expected a new or an empty folder' in capsys.readouterr().err
        assert [path.name for path in taken.iterdir()] == ['mine.txt']
    else:
        taken.write_text('mine')
        with pytest.raises(SystemExit, match='2'):
            run_here('example', str(taken))
        assert taken.read_text() == 'mine'
