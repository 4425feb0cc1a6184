"""The page of the benchmark is made of whatever runs there are."""

import json
from pathlib import Path

import pytest

from dev.benchmarks.parts import BENCHMARKS
from dev.performance_page import TABLES, make_tables, read_runs


def make_row(part: str, name: str, ratio: float, **entries) -> dict:
    row = dict(part=part, name=name, ours=ratio * 2, reference=2.0, unit='s', ratio=ratio)
    row.update(ratio_low=ratio, ratio_high=ratio, must=0.5, aim=0.25, difference=1e-6, **entries)
    return row


def make_run(ratio: float, exponent: float, **entries) -> dict:
    line = dict(part='scaling', name='a step', size='classes', sizes=[19, 150, 1000], unit='s')
    return dict(
        machine={'CPU': 'Some CPU', 'cores': 2, 'threads': 1, 'device': 'CPU'},
        versions=dict(python='3.11.7', torch='2.14.1'),
        commit='0123456789abcdef0123456789abcdef01234567',
        code='feedfacecafe',
        sizes=dict(variant='vit_b', prompts=100),
        seconds=dict(decode=60 * ratio, scaling=30.0),
        rows=[make_row('decode', 'joint decode', ratio), make_row('seem', 'SEEM decode', 0.2)],
        scaling=[dict(line, values=[ratio, 2 * ratio, 3 * ratio], exponent=exponent)],
        profile={'100': dict(attention=10.4, rest=1.0), '400': dict(attention=40.0)},
        **entries,
    )


@pytest.fixture
def runs(tmp_path):
    """Three of them, in a folder."""
    for number, ratio in enumerate((0.3, 0.2, 0.6), start=1):
        write(tmp_path, f'performance_cpu_{number}', make_run(ratio, exponent=ratio))
    return tmp_path


def write(folder: Path, name: str, run: dict) -> None:
    (folder / f'{name}.json').write_text(json.dumps(run))


def test_each_table_says_machine_versions_and_commit(runs):
    tables = make_tables(runs)
    for name in ('runs', 'decoding', 'seem', 'scaling', 'profile', 'missed'):
        first = tables[name]().splitlines()[0]
        assert first == (
            '3 runs on Some CPU (2 cores, 1 threads); torch 2.14.1, Python 3.11.7; '
            'commit `0123456789ab`; code `feedfacecafe`.'
        )


def test_tables_have_medians_and_each_ratio(runs):
    tables = make_tables(runs)
    line = '| joint decode | 0.6 s | 2 s | 0.3, 0.2, 0.6 | 0.5 | 0.25 | MISSED | 1e-06 |'
    assert tables['decoding']().splitlines()[-1] == line
    assert tables['missed']().splitlines()[4:] == [line]
    assert tables['seem']().splitlines()[-1].endswith('| aim | 1e-06 |')
    assert tables['scaling']().splitlines()[-1] == (
        '| a step | classes | 19, 150, 1000 | 0.3, 0.6, 0.9 s | 0.30, 0.20, 0.60 |'
    )
    assert tables['profile']().splitlines()[-2:] == [
        '| attention | 10 ms | 40 ms |',
        '| rest | 1 ms | 0 ms |',
    ]
    assert '| minutes of each run | 0.8, 0.7, 1.1 |' in tables['runs']()
    assert '| seconds of its parts | decode 18, scaling 30 |' in tables['runs']()


def test_where_nothing_is_missed_the_page_says_so(tmp_path):
    write(tmp_path, 'performance_cpu_1', make_run(0.3, 1.0))
    assert make_tables(tmp_path)['missed']().endswith('Each row reaches what it must in each run.')
    assert '| met |' in make_tables(tmp_path)['decoding']()


def test_what_is_not_measured_says_how_to(runs, tmp_path_factory):
    command = '`python -m dev.benchmark all --json docs/evidence/performance_cpu_1.json`'
    assert make_tables(runs)['tasks']() == f'Not measured yet: {command} does.'
    command = (
        '`python -m dev.benchmark all --device cuda --json docs/evidence/performance_gpu.json`'
    )
    assert make_tables(runs)['gpu']() == f'Not measured yet: {command} does.'
    tables = make_tables(tmp_path_factory.mktemp('empty'))
    assert all(make().startswith('Not measured yet: ') for make in tables.values())


def test_the_table_of_gpus_has_all_parts(runs):
    run = make_run(0.3, 1.0, note='of old code')
    run['machine']['device'] = 'Some GPU'
    write(runs, 'performance_gpu', run)
    made = make_tables(runs)['gpu']()
    assert made.startswith('1 run on Some GPU (') and '; of old code.' in made
    assert '| joint decode |' in made and '| SEEM decode |' in made


def test_changed_files_are_named_where_no_digest_tells_the_code(tmp_path):
    run = make_run(0.3, 1.0)
    run['commit'] += '-dirty'
    write(tmp_path, 'performance_cpu_1', run)
    assert 'commit `0123456789ab`; code' in make_tables(tmp_path)['seem']()
    del run['code']
    write(tmp_path, 'performance_cpu_1', run)
    assert 'commit `0123456789ab` with changes.' in make_tables(tmp_path)['seem']()


@pytest.mark.parametrize(
    ('entry', 'value'),
    [('machine', {}), ('versions', {}), ('code', 'another'), ('sizes', {}), ('rows', [])],
)
def test_runs_that_differ_are_not_mixed(runs, entry, value):
    write(runs, 'performance_cpu_2', {**make_run(0.2, 1.0), entry: value})
    with pytest.raises(ValueError, match=f'runs differ in {"names" if entry == "rows" else entry}'):
        read_runs(runs, 'performance_cpu_*.json')


@pytest.mark.parametrize('content', ['{', '[]', '{"machine": {}, "rows": []}'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / 'performance_cpu_1.json').write_text(content)
    with pytest.raises(SystemExit, match=r"performance_cpu_1\.json': expected .*dev/benchmark\.py"):
        make_tables(tmp_path)['runs']()


def test_each_part_of_the_benchmark_has_a_table():
    assert sorted(part for parts in TABLES.values() for part in parts) == sorted(BENCHMARKS)
