"""Some hundred damaged files for each reader; ``tools/fuzz_readers.py`` tries more."""

import importlib.util
import sys

import pytest

from test_end_to_end.tools import ROOT

SPEC = importlib.util.spec_from_file_location('fuzz_readers', ROOT / 'tools' / 'fuzz_readers.py')
fuzz_readers = importlib.util.module_from_spec(SPEC)
sys.modules['fuzz_readers'] = fuzz_readers
SPEC.loader.exec_module(fuzz_readers)


@pytest.mark.parametrize('name', fuzz_readers.TARGETS)
def test_damaged_files_end_in_documented_errors(tmp_path, name):
    assert fuzz_readers.fuzz(fuzz_readers.TARGETS[name], tmp_path, 0, 120, 150) == 150


@pytest.mark.parametrize('name', fuzz_readers.TARGETS)
def test_most_damage_is_found(tmp_path, name):
    target, found = fuzz_readers.TARGETS[name], 0
    target.make(tmp_path)
    valid = (tmp_path / target.file).read_bytes()
    draws = fuzz_readers.random.Random(1)
    for _ in range(40):
        (tmp_path / target.file).write_bytes(fuzz_readers.damage(valid, draws))
        try:
            target.read(tmp_path)
        except target.errors as caught:
            found += str(tmp_path) in str(caught)
    assert found > 20


def test_another_error_is_a_finding(tmp_path):
    def fail(folder):
        raise KeyError('from the depths')

    target = fuzz_readers.TARGETS['index']._replace(read=fail)
    target.make(tmp_path)
    with pytest.raises(KeyError):
        fuzz_readers.try_one(target, tmp_path, b'')
