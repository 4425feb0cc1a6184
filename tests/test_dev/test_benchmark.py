"""The benchmark compares equal results, and writes what it prints."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from commands import run_here
from dev.benchmarks import rows as benchmark_rows
from dev.benchmarks.label_maps import draw_trained_scores
from dev.performance_page import format_runs

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED, PUBLISHED_APART, PUBLISHED_LABEL_MAPS, PUBLISHED_SEEM = (
    sorted((ROOT / 'docs' / 'evidence').glob(f'performance_{kind}*.json'))
    for kind in ('cpu_', 'classify_cpu_', 'label-maps_cpu_', 'seem_cpu_')
)
ENCODER = 'tiny encoder at 96 x 96'
COLUMNS = {
    *('name', 'ours', 'reference', 'unit', 'ratio', 'ratio_low', 'ratio_high', 'must', 'aim'),
    'difference',
}
STEP = 'SEEM training step from embedded samples'
SEEM_ROWS = [
    row
    for images in ('1 image', '2 images')
    for row in (
        f'SEEM decode, {images}, forward',
        f'SEEM decode, {images}, forward and backward',
        f'SEEM encoder, {images}',
        f'{STEP}, {images}, over one with our encoder',
        f'{STEP}, {images}, over one written plainly',
    )
]
LABEL_MAP_ROWS = [
    f'label map of {side} pixels, {kind}, over {reference}'
    for side in (128, 256)
    for kind in ('trained', 'noise')
    for reference in ('mmseg', 'plain enlarging')
]
CAN_COMPILE = shutil.which('g++') is not None


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
    compiled = [f'{ENCODER}, {dtype}, compiled' for dtype in ('float32', 'bfloat16')]
    assert names == [
        'joint decode, N = 100, forward',
        'independent decode, N = 100, forward',
        'joint decode, N = 100, forward and backward',
        'independent decode, N = 100, forward and backward',
        f'{ENCODER}, float32',
        f'{ENCODER}, bfloat16',
        *(compiled if CAN_COMPILE else []),
        'training step from embedded samples, over one with our encoder',
        'training step from embedded samples, over the official modules',
        'reading embedded samples, of the training step',
        'training step with 20 objects, over one with label maps',
        'region classifier, of a training step from embedded samples',
        'predict, C = 20, time',
        *LABEL_MAP_ROWS,
        'text encoder in memory while training',
        'time in the text encoder, of a training step',
        'semantic prompts, C = 20, over encoding the class names',
        'state dict on disk',
        'joint decode, N = 25 over N = 100, forward',
        'joint decode, N = 25 over N = 100, forward and backward',
        'joint decode, 100 more prompts at N = 400 over N = 100, forward',
        'joint decode, 100 more prompts at N = 400 over N = 100, forward and backward',
        'training step from 2 embedded samples, over 1',
        'training step from 4 embedded samples, over 1',
        'import of the package, over mmseg.models',
        *SEEM_ROWS,
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
def test_the_text_encoder_is_gone_before_training(table):
    rows = {row['name']: row for row in table['rows']}
    for name in (
        'text encoder in memory while training',
        'time in the text encoder, of a training step',
    ):
        assert rows[name]['ours'] == 0 and rows[name]['reference'] > 0


def test_the_rows_of_one_benchmark(tmp_path, capsys):
    file = tmp_path / 'new' / 'table.json'
    run_here('dev.benchmark', 'text', '--small', '--repeats', 1, '--classes', 5, '--json', file)
    table, printed = json.loads(file.read_text()), capsys.readouterr().out
    assert table['machine']['variant'] == 'tiny' and table['machine']['torch']
    assert len(table['rows']) == 3
    for row in table['rows']:
        assert set(row) == COLUMNS
        assert row['name'] in printed
        assert row['must'] is None and row['aim'] is None  # targets are for real sizes


def test_the_rows_of_seem(tmp_path):
    """Ours and the plain computation, whose results are compared, on the miniature."""
    file = tmp_path / 'table.json'
    options = ('--small', '--repeats', 1, '--classes', 5, '--threads', 1)
    run_here('dev.benchmark', 'seem', *options, '--json', file)
    table = json.loads(file.read_text())
    machine = table['machine']
    assert (machine['variant'], machine['classes']) == ('focal_tiny', 5)
    assert not {'prompts', 'batch'} & set(machine)  # on which these rows do not depend
    assert [row['name'] for row in table['rows']] == SEEM_ROWS
    for row in table['rows']:
        assert set(row) == COLUMNS and row['must'] is None
        assert 0 <= row['difference'] < 1e-4


def test_other_results_have_no_ratio():
    numbers = torch.tensor([1.0, -100.0])
    assert benchmark_rows.find_difference(numbers + 0.001, numbers) == pytest.approx(1e-5, rel=0.01)
    with pytest.raises(AssertionError):
        benchmark_rows.find_difference(numbers + 0.1, numbers)


#: Targets of benchmarks whose runs have files of their own, by what their names begin with.
APART = ('SEEM ', 'label map of ')


def check_targets(groups, start=''):
    targets = {
        name
        for name in benchmark_rows.TARGETS
        if name.startswith(start) and (start or not name.startswith(APART))
    }
    for files in zip(*groups):
        published = [row for file in files for row in json.loads(file.read_text())['rows']]
        assert {row['name'] for row in published if row['must'] is not None} == targets


def test_targets_have_rows_that_bear_their_names():
    """A renamed row would lose its target in silence."""
    assert len(PUBLISHED) == len(PUBLISHED_APART) == 3
    check_targets([PUBLISHED, PUBLISHED_APART])


@pytest.mark.parametrize(
    ('files', 'start'), [(PUBLISHED_SEEM, APART[0]), (PUBLISHED_LABEL_MAPS, APART[1])]
)
def test_targets_apart_have_rows_that_bear_their_names(files, start):
    assert files
    check_targets([files], start)


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


def test_runs_of_other_machines_are_not_mixed():
    run = json.loads(PUBLISHED[0].read_text())
    other = {**run, 'machine': {**run['machine'], 'CPU': 'another'}}
    with pytest.raises(ValueError, match='runs differ in machine'):
        format_runs([run, other])


def test_the_profile_names_every_group(capsys):
    options = ('--variant', 'tiny', '--prompts', 4, 9, '--repeats', 1)
    run_here('dev.profile_decoding', *options)
    printed = capsys.readouterr().out
    assert '| | N = 4 | N = 9 |' in printed
    for group in ('attention', 'product of masks', 'linear layers and upscaling', 'all'):
        assert re.search(rf'^\| {group} \| \d+ ms \| \d+ ms \|$', printed, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.process
def test_the_machine_is_described(table):
    assert table['machine']['variant'] == 'tiny'
    assert table['machine']['torch']


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit, match='2'):
        run_here('dev.benchmark', 'cook')
    assert 'decode' in capsys.readouterr().err
