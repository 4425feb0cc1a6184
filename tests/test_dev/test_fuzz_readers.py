"""Some damaged files for each reader; ``dev/fuzz_readers.py`` tries more."""

import random
import sys
from pathlib import Path

import pytest

import example_counts
from dev import fuzz_readers
from dev.fuzz_targets import TARGETS

#: Of what is damaged there, most leaves a value of the same kind.
TEXTS = ('checkpoint-pickle', 'safetensors-texts', 'shard-sealed', 'shard-header')


@pytest.mark.parametrize('name', TARGETS)
def test_damaged_files_end_in_documented_errors(tmp_path, name):
    kept = tmp_path / 'kept'
    files = example_counts.count(150)
    assert fuzz_readers.fuzz(TARGETS[name], tmp_path, kept, 0, 120, files) == files
    assert not kept.exists()


@pytest.mark.parametrize('name', [name for name in TARGETS if name != 'shard-completed'])
def test_most_damage_is_found(tmp_path, name):
    target, found = TARGETS[name], 0
    target.make(tmp_path)
    valid, draws = target.take(tmp_path), random.Random(1)
    for _ in range(40):
        target.put(tmp_path, fuzz_readers.damage(valid, draws))
        try:
            target.read(tmp_path)
        except target.errors as caught:
            found += str(tmp_path) in str(caught)
    assert found > (10 if name in TEXTS else 20)


@pytest.mark.parametrize('name', TARGETS)
def test_what_is_not_damaged_is_read(tmp_path, name):
    target = TARGETS[name]
    target.make(tmp_path)
    target.put(tmp_path, target.take(tmp_path))
    target.read(tmp_path)


def test_another_error_is_a_finding(tmp_path, capsys):
    def fail(folder: Path) -> None:
        raise KeyError('from the depths')

    target = TARGETS['index']._replace(read=fail)
    target.make(tmp_path)
    kept = tmp_path / 'findings' / 'index'
    with pytest.raises(KeyError):
        fuzz_readers.try_one(target, tmp_path, b'{', kept)
    assert kept.read_bytes() == b'{'
    assert f'--replay {kept}' in capsys.readouterr().out


def test_a_finding_is_tried_again(tmp_path, monkeypatch, capsys):
    (tmp_path / 'finding').write_bytes(b'[' * 10**5)
    command = ['fuzz_readers.py', '--target', 'index', '--replay', str(tmp_path / 'finding')]
    monkeypatch.setattr(sys, 'argv', command)
    fuzz_readers.main()
    assert 'index: 1 damaged files, no other error' in capsys.readouterr().out


def test_one_target_has_to_be_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['fuzz_readers.py', '--engine', 'atheris'])
    with pytest.raises(SystemExit):
        fuzz_readers.main()
    assert 'need one --target' in capsys.readouterr().err
