"""Folders that have the names of files which a training writes."""

import pytest

from toy_training import build_toy


@pytest.mark.parametrize('name', ['run.json', 'run.lock', 'last_checkpoint'])
def test_a_folder_in_the_place_of_a_file_is_named_before_training(tmp_path, name):
    (tmp_path / name).mkdir()
    runner = build_toy(tmp_path, dict(type='RunLockHook'), dict(type='RunRecordHook'))
    with pytest.raises(IsADirectoryError, match='expected a file or nothing there') as caught:
        runner.train()
    assert repr(str(tmp_path / name)) in str(caught.value)
    assert 'Rename or remove it' in str(caught.value)
    assert runner.iter == 0
    assert not list(tmp_path.glob('*.pth'))
