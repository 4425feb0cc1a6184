"""The benchmark compares equal results, and writes what it prints."""

import json
import re
import subprocess
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

import pytest
import torch

from commands import run_here
from dev.benchmarks import rows as benchmark_rows
from dev.benchmarks.exponents import find_exponent, measure_scaling
from dev.benchmarks.label_maps import draw_trained_scores
from dev.benchmarks.outputs import Outputs
from dev.benchmarks.parts import BENCHMARKS
from dev.provenance import describe_code

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted((ROOT / 'docs' / 'evidence').glob('performance_cpu_*.json'))
ENCODER = 'tiny encoder at 96 x 96'
COLUMNS = {
    *('part', 'name', 'ours', 'reference', 'unit', 'ratio', 'ratio_low', 'ratio_high', 'must'),
    *('aim', 'difference'),
}
SMALL = Namespace(
    variant='tiny',
    seem_variant='focal_tiny',
    prompts=16,
    classes=20,
    batch=1,
    repeats=3,
    threads=1,
    device='cpu',
    small=True,
)
STEP = 'SEEM training step from embedded samples'
COMPILED = 'training step from embedded samples, compiled'
SEEM_ROWS = [
    'SEEM decode, forward',
    'SEEM decode, forward and backward',
    'SEEM encoder',
    f'{STEP}, over one with our encoder',
    f'{STEP}, over one written plainly',
]
TASK_ROWS = [
    'training step with 20 objects, over one with label maps',
    'instances of 100 masks at 128 x 128',
    'panoptic of 100 masks at 128 x 128',
]
#: What is measured, and what the sizes count.
SCALING = [
    ('predict label maps', 'pictures'),
    ('training step from embedded samples', 'pictures'),
    ('SEEM decode, forward and backward', 'pictures'),
    ('training step from embedded samples', 'classes'),
    ('label map of trained scores', 'classes'),
    ('joint decode, forward and backward', 'prompts'),
    ('label map of trained scores', 'pixels of a side'),
    ('joint decode, forward and backward', 'pixels of a side'),
    ('data-parallel training steps from embedded samples', 'processes'),
]
LABEL_MAP_ROWS = [
    f'label map of {side} pixels, {kind}, over {reference}'
    for side in (128, 256)
    for kind, reference in (
        ('trained', 'mmseg'),
        ('trained', 'plain enlarging'),
        ('noise', 'mmseg'),
    )
]


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    """The small form of all benchmarks."""
    file = tmp_path_factory.mktemp('benchmark') / 'new' / 'table.json'
    command = [sys.executable, '-m', 'dev.benchmark', 'all', '--small', '--repeats', '2']
    command += ['--classes', '20', '--json', str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    table = json.loads(file.read_text())
    table['printed'] = done.stdout
    return table


@pytest.mark.slow
@pytest.mark.process
def test_rows(table):
    names = [row['name'] for row in table['rows']]
    assert names == [
        'joint decode, N = 100, forward',
        'independent decode, N = 100, forward',
        'joint decode, N = 100, forward and backward',
        'independent decode, N = 100, forward and backward',
        f'{ENCODER}, float32',
        f'{ENCODER}, bfloat16',
        'training step from embedded samples, over one with our encoder',
        'training step from embedded samples, over the official modules',
        f'{COMPILED}, over one that is not',
        f'{COMPILED}, with fused AdamW, over plain',
        'reading embedded samples, of the training step',
        'region classifier, of a training step from embedded samples',
        'predict, C = 20, time',
        *LABEL_MAP_ROWS,
        'text encoder in memory while training',
        'state dict on disk',
        'import of the package, over mmseg.models',
        *SEEM_ROWS,
        *TASK_ROWS,
    ]
    for row in table['rows']:
        assert set(row) == COLUMNS
        assert row['ratio'] == pytest.approx(row['ours'] / row['reference'])
        assert 0 <= row['ratio_low'] <= row['ratio_high']
        assert row['name'] in table['printed']


@pytest.mark.slow
@pytest.mark.process
def test_differences_are_those_of_rounding(table):
    found = {row['name']: row['difference'] for row in table['rows']}
    assert 0 < found['independent decode, N = 100, forward and backward'] < 1e-4
    assert 0 < found[f'{ENCODER}, float32'] < 1e-4 < found[f'{ENCODER}, bfloat16'] < 0.05
    assert found['predict, C = 20, time'] == 0
    assert found['state dict on disk'] is None


@pytest.mark.slow
@pytest.mark.process
def test_each_size_has_an_exponent(table):
    assert [(line['name'], line['size']) for line in table['scaling']] == SCALING
    for line in table['scaling']:
        sizes = 2 if line['size'] == 'processes' else 3
        assert len(line['sizes']) == len(line['values']) == sizes
        assert line['exponent'] == pytest.approx(find_exponent(line['sizes'], line['values']))
        assert f'{line["name"]}, {line["size"]}' in table['printed']
    assert set(table['profile']) == {'100', '400'} and set(table['seconds']) == set(BENCHMARKS)


def test_the_rows_of_one_benchmark(tmp_path, capsys):
    file = tmp_path / 'new' / 'table.json'
    options = ('--small', '--repeats', 1, '--classes', 5, '--note', 'a test', '--json', file)
    run_here('dev.benchmark', 'text', *options)
    table, printed = json.loads(file.read_text()), capsys.readouterr().out
    assert table['machine']['CPU'] and table['versions']['torch']
    assert table['code'] == describe_code() and re.match('[0-9a-f]{40}|unknown', table['commit'])
    assert (table['sizes']['variant'], table['sizes']['classes']) == ('tiny', 5)
    assert table['note'] == 'a test' and set(table['seconds']) == {'text'}
    (row,) = table['rows']
    assert set(row) == COLUMNS and row['name'] in printed
    assert row['ours'] == 0 < row['reference']  # the text encoder is gone before training
    assert row['must'] is None and row['aim'] is None  # targets are for real sizes


def test_the_rows_of_seem(tmp_path):
    """Ours and the plain computation, whose results are compared, on the miniature."""
    file = tmp_path / 'table.json'
    options = ('--small', '--repeats', 1, '--classes', 5, '--threads', 1)
    run_here('dev.benchmark', 'seem', *options, '--json', file)
    table = json.loads(file.read_text())
    assert table['sizes']['seem_variant'] == 'focal_tiny'
    assert [row['name'] for row in table['rows']] == SEEM_ROWS
    for row in table['rows']:
        assert set(row) == COLUMNS and row['must'] is None
        assert 0 <= row['difference'] < 1e-4


def test_other_results_have_no_ratio():
    numbers = torch.tensor([1.0, -100.0])
    assert benchmark_rows.find_difference(numbers + 0.001, numbers) == pytest.approx(1e-5, rel=0.01)
    with pytest.raises(AssertionError):
        benchmark_rows.find_difference(numbers + 0.1, numbers)


def test_targets_without_a_row_of_their_name_are_found():
    """A renamed row would lose its target in silence; `all` ends with an error then."""
    names = list(benchmark_rows.TARGETS)
    assert benchmark_rows.find_unmeasured([*names, 'another row']) == []
    assert benchmark_rows.find_unmeasured(names[1:]) == names[:1]


@pytest.mark.parametrize('file', PUBLISHED, ids=lambda file: file.stem)
def test_a_committed_run_of_all_has_a_row_for_each_target(file):
    run = json.loads(file.read_text())
    wanted = {row['name'] for row in run['rows'] if row['must'] is not None}
    if set(run['seconds']) == set(BENCHMARKS):
        assert wanted == set(benchmark_rows.TARGETS)
    else:
        assert wanted and run['note'] == 'older than the code of today'


def test_slow_runs_have_fewer_turns(monkeypatch):
    args = Namespace(repeats=3, device='cpu')
    monkeypatch.setattr(benchmark_rows, 'measure_seconds', lambda run, device: run())
    for seconds, turns in ((1.0, 3), (6.0, 2), (40.0, 1)):
        run = partial(float, seconds)
        measured = benchmark_rows.measure_turns(args, run, run)
        assert measured == [(seconds, seconds)] * turns


def test_exponents_are_slopes_of_logarithms(monkeypatch):
    assert find_exponent([1, 2, 4], [3.0, 6.0, 12.0]) == pytest.approx(1)
    assert find_exponent([512, 1024, 2048], [5.0, 5.0, 5.0]) == pytest.approx(0)
    assert find_exponent([1, 2], [10.0, 5.0]) == pytest.approx(-1)
    # Least squares, worked out by hand: logarithms to base 2 of (0, 0), (1, 0) and (2, 3).
    assert find_exponent([1, 2, 4], [1.0, 1.0, 8.0]) == pytest.approx(1.5)
    seconds = {'a': 1.0, 'b': 4.0, 'c': 16.0}
    monkeypatch.setattr(benchmark_rows, 'measure_seconds', lambda run, device: seconds[run()])
    runs = {10: lambda: 'a', 20: lambda: 'b', 40: lambda: 'c'}
    line = measure_scaling(Namespace(repeats=2, device='cpu'), 'work', 'things', runs)
    assert (line.sizes, line.values, line.unit) == ([10, 20, 40], [1.0, 4.0, 16.0], 's')
    assert line.exponent == pytest.approx(2)


def test_the_rows_of_tasks(tmp_path):
    """Instances and panoptic maps are those of the formulas on all masks at once."""
    file = tmp_path / 'table.json'
    options = ('--small', '--repeats', 1, '--threads', 1, '--classes', 20)
    run_here('dev.benchmark', 'tasks', *options, '--json', file)
    rows = json.loads(file.read_text())['rows']
    assert [row['name'] for row in rows] == TASK_ROWS
    assert [row['difference'] for row in rows[:1]] == [None]
    assert rows[1]['difference'] < 1e-6 and rows[2]['difference'] == 0


def test_outputs_that_are_compared_have_objects_and_stuff():
    case = Outputs(SMALL)
    labels, scores, pixels = case.instances()
    assert len(labels) > 3 and bool((labels % 2 == 0).all()) and 0 < pixels.min() < pixels.max() < 1
    assert bool((scores[:-1] >= scores[1:]).all())
    assert len(case.panoptic().unique()) > 3


@pytest.mark.slow
@pytest.mark.process
def test_a_case_that_fails_says_why():
    args = Namespace(**{**vars(SMALL), 'benchmark': 'tasks'})
    with pytest.raises(RuntimeError, match=r"(?s)case 'cook' failed: .*invalid choice: 'cook'"):
        benchmark_rows.run_cases(args, ['cook', 'instances'])


def test_the_rows_of_label_maps(tmp_path):
    """Of equal label maps, against both references; on the miniature."""
    file = tmp_path / 'table.json'
    options = ('--small', '--repeats', 1, '--threads', 1)
    run_here('dev.benchmark', 'label-maps', *options, '--json', file)
    rows = json.loads(file.read_text())['rows']
    assert [row['name'] for row in rows] == LABEL_MAP_ROWS
    assert all(row['difference'] == 0 and row['must'] is None for row in rows)


def test_scores_like_those_of_trained_models_have_the_winners_that_are_said():
    for side in (64, 256):
        winners = draw_trained_scores(150, 100, side).argmax(dim=0).unique()
        assert 20 <= len(winners) <= 40
    assert torch.equal(draw_trained_scores(9, 4, 8), draw_trained_scores(9, 4, 8))


@pytest.mark.slow
@pytest.mark.process
def test_targets_are_for_real_sizes(table):
    assert all(row['must'] is None and row['aim'] is None for row in table['rows'])


def test_the_profile_names_every_group(capsys):
    options = ('--variant', 'tiny', '--prompts', 4, 9, '--repeats', 1)
    run_here('dev.profile_decoding', *options)
    printed = capsys.readouterr().out
    assert '| | N = 4 | N = 9 |' in printed
    for group in ('attention', 'product of masks', 'linear layers and upscaling', 'all'):
        assert re.search(rf'^\| {group} \| \d+ ms \| \d+ ms \|$', printed, re.MULTILINE)


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit, match='2'):
        run_here('dev.benchmark', 'cook')
    assert 'decode' in capsys.readouterr().err
