"""The benchmark compares equal results, and writes what it prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'benchmark.py'
COLUMNS = {
    *('name', 'ours', 'reference', 'unit', 'ratio', 'ratio_low', 'ratio_high', 'must', 'aim'),
}


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    """The small form of all benchmarks."""
    file = tmp_path_factory.mktemp('benchmark') / 'new' / 'table.json'
    command = [sys.executable, str(TOOL), 'all', '--small', '--repeats', '2', '--json', str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    table = json.loads(file.read_text())
    table['printed'] = done.stdout
    return table


def test_rows(table):
    names = [row['name'] for row in table['rows']]
    assert names[0] == 'joint decode, N = 100, forward'
    assert names[5:] == [
        'tiny encoder at 96 x 96, float32',
        'training step from embedded samples, over one with our encoder',
        'training step from embedded samples, over the official modules',
        'predict, C = 10, time',
        'state dict on disk',
    ]
    for row in table['rows']:
        assert set(row) == COLUMNS
        assert row['ratio'] == pytest.approx(row['ours'] / row['reference'])
        assert 0 < row['ratio_low'] <= row['ratio_high']
        assert row['name'] in table['printed']


def test_targets_are_for_real_sizes(table):
    assert all(row['must'] is None and row['aim'] is None for row in table['rows'])


def test_the_machine_is_described(table):
    assert table['machine']['variant'] == 'tiny'
    assert table['machine']['torch']


def test_an_unknown_benchmark_is_refused():
    done = subprocess.run([sys.executable, str(TOOL), 'cook'], capture_output=True, text=True)
    assert done.returncode == 2
    assert 'decode' in done.stderr
