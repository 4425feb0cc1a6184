"""Studies: the statistics, the search, the report, and runs that are run once."""

import json
import random
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest

from dev import reproduce
from dev.provenance import describe_code
from dev.studies import runs, search
from dev.studies.definitions import STUDIES, Study, StudyRow
from dev.studies.processes import _name_gpu, run_tool
from dev.studies.recipes import RECIPES
from dev.studies.report import compare, gives_same_digits, read_origin
from dev.studies.row_configs import SPLITS
from dev.studies.runs import Measurement, Training, run_all
from dev.studies.search import rates_to_try
from mmseg_ssprompt.analysis.complexity.measuring import describe_machine
from mmseg_ssprompt.cli.records import read_losses

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / 'docs' / 'evidence'
SMALL = (
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'train_dataloader.dataset.num_images=4',
    'train_dataloader.batch_size=2',
    'val_dataloader.dataset.num_images=2',
    'test_dataloader.dataset.num_images=2',
    'param_scheduler.1.end=2',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=1',
)


def make_row(name, config='ssprompt_sam-tiny_shapes.py', **kwargs):
    return StudyRow(name, config, SMALL, **kwargs)


def test_interval_by_hand():
    mean, half = compare([2.0, 2.0, 2.0], [1.0, 0.0, -1.0])
    assert mean == 2.0
    # t(0.975, 2) = 4.3027; the standard error is 1 / sqrt(3)
    assert half == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert np.isnan(compare([1.0], [0.5]).half)
    assert str(compare([1.0], [0.5])) == '+0.5'
    assert str(compare([1.0, 2.0], [1.5, 3.5])) == '-1.0 ± 6.4'
    # A seed that either lacks is no pair.
    assert str(compare([1.0, 9.0, None, 2.0], [1.5, None, 9.0, 3.5])) == '-1.0 ± 6.4'
    assert compare([None, 1.0], [1.0, None]) is None


def test_every_row_has_a_config_and_a_reference():
    names = {
        *('components', 'prompts', 'shots', 'decoding', 'transfer', 'layout', 'precision'),
        *('classifiers', 'tasks_panoptic', 'tasks_instance', 'recipes', 'deep_prompts'),
        *('components_seem', 'layout_seem', 'prompts_seem', 'shots_seem', 'transfer_seem'),
    }
    assert set(STUDIES) == names
    for study in STUDIES.values():
        names = [row.name for row in study.rows]
        assert len(set(names)) == len(names)
        assert {row.reference or study.reference for row in study.rows} <= set(names)
        assert all((ROOT / 'configs' / row.config).is_file() for row in study.rows)


@pytest.mark.parametrize(
    ('tried', 'expected'),
    [
        ({}, [3e-3, 3e-2, 3e-1]),
        ({3e-3: 5.0, 3e-2: 9.0, 3e-1: 7.0}, [1e-2, 1e-1]),
        ({3e-3: 5.0, 3e-2: 4.0, 3e-1: 7.0}, [1e-1, 1.0]),  # the higher of two peaks
        ({3e-3: 5.0, 1e-2: 9.0, 3e-2: 7.0, 3e-1: 6.0}, []),
        ({3e-3: 9.0, 1e-2: 8.0, 3e-2: 7.0, 3e-1: 6.0}, [1e-3]),
        ({3e-3: 1.0, 1e-2: 8.0, 3e-2: 9.0, 3e-1: 6.0}, [1e-1]),
        ({1e-3: 9.5, 3e-3: 9.0, 1e-2: 8.0, 3e-2: 7.0, 3e-1: 6.0}, [3e-4]),
        ({1e-4: 9.9, 3e-4: 9.0, 3e-3: 8.0, 3e-2: 7.0, 3e-1: 6.0}, []),  # a bound
        ({3e-3: 0.0, 3e-2: 1.0, 1e-1: 1.0, 3e-1: 2.0, 1.0: 3.0}, []),
        ({1e-2: 9.0, 3e-2: 7.0}, [3e-3, 3e-1]),  # of a search that began elsewhere
    ],
)
def test_search_ends_when_the_neighbours_of_the_best_rate_were_tried(tried, expected):
    assert rates_to_try(tried) == pytest.approx(expected)
    assert search.has_found(tried) is (not expected)


@pytest.mark.slow
def test_a_study_from_runs_to_its_page(tmp_path, monkeypatch, capsys):
    zero_shot = make_row('zero-shot', 'ssprompt_sam-tiny_shapes_zero-shot.py', trains=False)
    learned = make_row('learned')
    best_mask = make_row('best masks', oracle='best_mask')
    moved = make_row('moved', source=learned, parts=('semantic',), reference='zero-shot')
    study = Study('A study', 'Of a note.', 'learned', (zero_shot, learned, best_mask, moved))
    monkeypatch.setattr(reproduce, 'STUDIES', dict(small=study))
    monkeypatch.setattr(search, 'rates_to_try', lambda tried: [] if tried else [1e-9, 1e-2])
    command = ['reproduce.py', 'small', '--seeds', '0', '1', '--jobs', '2']
    command += ['--work-dir', str(tmp_path / 'work'), '--out-dir', str(tmp_path / 'evidence')]
    monkeypatch.setattr(sys, 'argv', command)
    reproduce.main()
    content = json.loads((tmp_path / 'evidence' / 'small.json').read_text())
    assert content['study'] == 'small'
    assert content['seeds'] == [0, 1]
    assert content['code'] == describe_code()
    rows = {row['name']: row for row in content['rows']}
    handcrafted, trained = rows['zero-shot'], rows['learned']
    assert handcrafted['trainable_parameters'] == 0
    assert handcrafted['miou'][0] == handcrafted['miou'][1]  # nothing depends on the seed
    assert trained['trainable_parameters'] == 13002
    assert trained['learning_rate'] in (1e-9, 1e-2)
    assert len(trained['miou']) == len(trained['train_seconds']) == 2
    assert np.mean(rows['best masks']['miou']) > np.mean(trained['miou'])
    assert rows['moved']['trainable_parameters'] == 0
    page = (tmp_path / 'evidence' / 'small.md').read_text()
    assert '| zero-shot |' in page
    assert 'Of a note.' in page
    assert 'python -m dev.reproduce small --seeds 0 1' in page
    assert f'digest `{describe_code()}`' in page
    assert (tmp_path / 'evidence' / 'small.png').stat().st_size > 5000

    printed = capsys.readouterr().out
    assert '[2/2] learned, seed 1000' in printed
    assert 'zero-shot: ' in printed
    monkeypatch.setattr(runs, 'run_tool', lambda *args: pytest.fail('run again'))
    reproduce.main()  # everything is there already


def test_each_seed_draws_other_images(tmp_path):
    few = STUDIES['shots'].rows[0]
    made = [Training(few, 1e-2, seed, tmp_path).make_config() for seed in (3, 4)]
    embedded = [config.train_dataloader.dataset for config in made]
    assert [each.dataset.seed for each in embedded] == [3, 4]  # which images are drawn
    assert [each.dataset.dataset.seed for each in embedded] == [3, 4]  # from which training set
    assert [config.randomness.seed for config in made] == [3, 4]
    assert embedded[0].dataset.shots == 1
    assert embedded[0].cache_dir != embedded[1].cache_dir


def test_rows_share_the_scenes_that_the_encoder_has_seen(tmp_path):
    rows = {row.name: row for row in STUDIES['components'].rows}

    def folders(row, seed=0):
        config = Training(row, 1e-2, seed, tmp_path).make_config()
        return [config[f'{split}_dataloader'].dataset.cache_dir for split in SPLITS]

    chosen = folders(rows['SSPrompt'])
    assert len(set(chosen)) == 3
    assert folders(rows['SemPrompt']) == folders(rows['mask decoder fine-tuned']) == chosen
    other_seed = folders(rows['SSPrompt'], seed=1)
    assert other_seed[0] != chosen[0]
    assert other_seed[1:] == chosen[1:]
    coast = StudyRow('coast', 'ssprompt_sam-tiny_shapes-coast.py')
    seem = StudyRow('SEEM', 'ssprompt_seem-tiny_shapes.py')
    half = StudyRow('half', 'ssprompt_sam-tiny_shapes_cached.py')  # in float16
    for row in (coast, seem, half):
        assert not set(folders(row)) & set(chosen)


@pytest.mark.slow
def test_a_row_that_is_run_again_gives_equal_digits(tmp_path):
    study = json.loads((EVIDENCE / 'recipes.json').read_text())
    origin = dict(code=describe_code(), machine=describe_machine('cpu'))
    if not gives_same_digits(read_origin(study), origin):
        pytest.skip('the committed results are of other code, another processor or another torch')
    (row,) = (row for row in RECIPES.rows if row.name == 'sam-tiny, shapes: SSPrompt')
    (committed,) = (each for each in study['rows'] if each['name'] == row.name)
    training = Training(row, committed['learning_rate'], study['seeds'][0], tmp_path)
    run_all([training], jobs=2)
    measurement = Measurement(row, training, tmp_path)
    run_all([measurement], jobs=2)
    assert measurement.result()['mIoU'] == committed['miou'][0]


def test_a_row_without_embedded_samples_keeps_its_images(tmp_path):
    (row,) = (row for row in STUDIES['precision'].rows if row.name == 'float32')
    config = Training(row, 1e-2, 0, tmp_path).make_config()
    assert config.train_dataloader.dataset.type == 'ShapesWorldDataset'
    assert config.model.backbone.type == 'SAMImageEncoder'


def test_studies_share_a_training_but_not_one_with_other_options(tmp_path):
    def folder(study, name):
        (row,) = (row for row in STUDIES[study].rows if row.name == name)
        return Training(row, 1e-2, 0, tmp_path).folder

    assert folder('components', 'SSPrompt') == folder('prompts', 'N = 64')
    assert folder('components', 'SSPrompt') == folder('decoding', 'SSPrompt, joint')
    rows = [row for row in STUDIES['layout'].rows if row.oracle is None]
    layout = [Training(row, 1e-2, 0, tmp_path).folder for row in rows]
    assert len(set(layout)) == len(layout)


@pytest.mark.slow
@pytest.mark.parametrize('base', ['sam-tiny', 'seem-tiny'])
def test_embedded_samples_change_no_result(tmp_path, base):
    config = f'ssprompt_{base}_shapes.py'
    small = (*SMALL[:2], 'train_dataloader.dataset.num_images=4', *SMALL[3:])
    results = []
    for embedded in (True, False):
        row = StudyRow('row', config, small, embedded=embedded)
        root = tmp_path / str(embedded)
        training = Training(row, 1e-2, 3, root)
        run_all([training], jobs=1)
        measurement = Measurement(row, training, root)
        run_all([measurement], jobs=1)
        results.append((read_losses(training.folder / 'train'), measurement.result()['mIoU']))
        log = (measurement.folder / 'test.log').read_text()
        assert (str(root / 'samples') in log) is embedded
    (losses, miou), (other_losses, other_miou) = results
    assert losses == pytest.approx(other_losses, rel=2e-4)
    assert miou == pytest.approx(other_miou, abs=0.1)


def test_a_training_whose_losses_are_not_finite_is_no_result(tmp_path, monkeypatch):
    training = Training(make_row('learned'), 1e-2, 0, tmp_path)
    monkeypatch.setattr(runs, 'read_losses', lambda work_dir: [1.0, float('nan')])
    monkeypatch.setattr(runs, 'run_tool', lambda *args: 'Trainable: 1 parameters')
    with pytest.raises(RuntimeError, match='a loss in the log is not finite'):
        training.execute(threads=1, gpu=0)
    assert not training.result_file.exists()


@pytest.mark.parametrize(
    ('visible', 'expected'), [(None, '1'), ('4,6', '6'), ('GPU-a,GPU-b', 'GPU-b')]
)
def test_runs_share_out_the_gpus_that_are_visible(visible, expected, monkeypatch):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    assert _name_gpu(1) == expected


@pytest.mark.parametrize('hidden', ['', '-1'])
def test_no_gpu_is_visible_where_none_was(hidden, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', hidden)
    assert _name_gpu(0) == hidden


@pytest.mark.slow
def test_a_run_that_fails_says_why_and_leaves_no_result(tmp_path):
    row = StudyRow('broken', 'ssprompt_sam-tiny_shapes.py', ('model.decode_head.num_classes=3',))
    run = Training(row, 1e-2, 0, tmp_path)
    with pytest.raises(RuntimeError, match='num_classes is 3'):
        run_all([run], jobs=1)
    assert not run.result_file.exists()


@pytest.mark.slow
def test_a_run_beside_others_keeps_its_exit_status(tmp_path, monkeypatch):
    read_signed, draws = forkserver.read_signed, random.Random(0)

    def read_late(fd):
        time.sleep(draws.uniform(0, 0.05))  # whoever wants the same status may be first
        return read_signed(fd)

    monkeypatch.setattr(forkserver, 'read_signed', read_late)
    with ThreadPoolExecutor(4) as pool:
        logs = [tmp_path / f'{number}.log' for number in range(24)]
        outputs = pool.map(lambda log: run_tool('configs', [], log, 1), logs)
        assert all('ssprompt_sam' in output for output in outputs)


def write_run(run, **figures):
    run.folder.mkdir(parents=True, exist_ok=True)
    run.result_file.write_text(json.dumps(figures))


def test_a_table_of_what_is_there_names_what_is_not(tmp_path, monkeypatch, capsys):
    zero_shot = make_row('zero-shot', 'ssprompt_sam-tiny_shapes_zero-shot.py', trains=False)
    learned, other = make_row('learned'), make_row('other', 'ssprompt_sam-tiny_shapes_16shot.py')
    study = Study('A study', 'A note.', 'other', (zero_shot, learned, other))
    monkeypatch.setattr(reproduce, 'STUDIES', dict(small=study))
    monkeypatch.setattr(runs, 'run_tool', lambda *args: pytest.fail('something was run'))
    figures = {'mIoU': 50.0, 'mIoU.things': 40.0, 'mIoU.stuff': 60.0}
    root = tmp_path / describe_code()
    write_run(Measurement(zero_shot, None, root), **figures)
    for rate in (*search.START, 1e-2, 1e-1):
        miou = 70.0 if rate == 3e-2 else 60.0
        write_run(Training(learned, rate, search.TUNING_SEED, root), validation_score=miou)
    # The search of the other row is not complete: a neighbour of its best rate was not tried.
    for rate in search.START:
        write_run(Training(other, rate, search.TUNING_SEED, root), validation_score=rate)
    for seed in (0, 1):
        training = Training(learned, 3e-2, seed, root)
        write_run(training, trainable_parameters=7, train_seconds=1.0)
        write_run(Measurement(learned, training, root), **{**figures, 'mIoU': 60.0 + seed})
    command = ['reproduce.py', 'small', '--table', '--seeds', '0', '1']
    command += ['--work-dir', str(tmp_path), '--out-dir', str(tmp_path / 'evidence')]
    monkeypatch.setattr(sys, 'argv', command)
    reproduce.main()
    page = (tmp_path / 'evidence' / 'small.md').read_text()
    assert '| learned | 60.5 ± 0.7 | 40.0 ± 0.0 | 60.0 ± 0.0 |  | 0.03 | 7 | 1 |' in page
    assert 'Not run: other.' in page

    # A third seed was not run: not of the row that trains, but handcrafted prompts have each seed.
    monkeypatch.setattr(sys, 'argv', [*command, '--seeds', '0', '1', '2'])
    reproduce.main()
    page = (tmp_path / 'evidence' / 'small.md').read_text()
    assert '| zero-shot | 50.0 ± 0.0 |' in page
    assert '| learned (2 of 3 seeds) | 60.5 ± 0.7 | 40.0 ± 0.0 | 60.0 ± 0.0 |' in page
    table = json.loads((tmp_path / 'evidence' / 'small.json').read_text())
    learned_line = table['rows'][1]
    assert learned_line['miou'] == [60.0, 61.0, None]
    assert learned_line['train_seconds'] == [1.0, 1.0, None]
    assert learned_line['rates'] == {'0.003': 60, '0.01': 60, '0.03': 70, '0.1': 60, '0.3': 60}

    # Without its folder the line is taken from the table, and a run asks for the third seed alone.
    shutil.rmtree(root)
    reproduce.main()
    assert json.loads((tmp_path / 'evidence' / 'small.json').read_text())['rows'][1] == learned_line
    command.remove('--table')
    monkeypatch.setattr(sys, 'argv', [*command, '--seeds', '0', '1', '2', '--only', '0', '1'])
    asked = []
    monkeypatch.setattr(reproduce, 'run_all', lambda asked_for, jobs: asked.extend(asked_for))
    reproduce.main()
    training = Training(learned, 3e-2, 2, root)
    assert asked == [training, Measurement(learned, training, root)]

    # A folder with that seed alone fills the gap of the table.
    for rate in (*search.START, 1e-2, 1e-1):
        miou = 70.0 if rate == 3e-2 else 60.0
        write_run(Training(learned, rate, search.TUNING_SEED, root), validation_score=miou)
    write_run(training, trainable_parameters=7, train_seconds=4.0)
    write_run(Measurement(learned, training, root), **{**figures, 'mIoU': 65.0})
    monkeypatch.setattr(sys, 'argv', [*command, '--table', '--seeds', '0', '1', '2'])
    reproduce.main()
    (line,) = json.loads((tmp_path / 'evidence' / 'small.json').read_text())['rows'][1:]
    assert line['miou'] == [60.0, 61.0, 65.0]
    assert line['train_seconds'] == [1.0, 1.0, 4.0]

    # Validation scores that differ say that one of the two is not what it seems.
    training = Training(learned, 3e-2, search.TUNING_SEED, root)
    write_run(training, validation_score=71.0)
    with pytest.raises(ValueError, match='learned: expected equal validation scores'):
        reproduce.main()


def test_rows_of_a_table_of_the_same_code_are_not_run_again(tmp_path, monkeypatch):
    zero_shot = make_row('zero-shot', 'ssprompt_sam-tiny_shapes_zero-shot.py', trains=False)
    study = Study('A study', 'A note.', 'zero-shot', (zero_shot,))
    monkeypatch.setattr(reproduce, 'STUDIES', dict(small=study))
    monkeypatch.setattr(runs, 'run_tool', lambda *args: pytest.fail('something was run'))
    learned = make_row('learned')
    work_dir, file = tmp_path / 'work', tmp_path / 'evidence' / 'small.json'
    figures = {'mIoU': 50.0, 'mIoU.things': 40.0, 'mIoU.stuff': 60.0}
    write_run(Measurement(zero_shot, None, work_dir / describe_code()), **figures)

    command = ['reproduce.py', 'small', '--table', '--seeds', '0', '1']
    command += ['--work-dir', str(work_dir), '--out-dir', str(file.parent)]
    monkeypatch.setattr(sys, 'argv', command)
    reproduce.main()
    table = json.loads(file.read_text())
    assert [row['name'] for row in table['rows']] == ['zero-shot']
    shutil.rmtree(work_dir)
    reproduce.main()
    assert json.loads(file.read_text()) == table

    def known(content, *seeds):
        file.write_text(json.dumps(content))
        origin = dict(code=describe_code(), machine=describe_machine('cpu'))
        rows = reproduce.read_known_rows(file, (zero_shot, learned), origin, seeds)
        return {row.name: line['miou'] for row, line in rows.items()}

    assert known(table, 0, 1) == {'zero-shot': [50.0, 50.0]}
    assert known(table, 1, 2) == {'zero-shot': [50.0, None]}
    assert known(table, 2, 3) == {}
    machine = dict(table['machine'], instructions='none')
    row = dict(table['rows'][0], options=['model.weights=None'])
    for wrong in (dict(code='0123456789ab'), dict(machine=machine), dict(rows=[row])):
        assert known({**table, **wrong}, 0, 1) == {}

    # A row that trains is known where its search is that of today.
    rates = {f'{rate:g}': 60.0 - rate for rate in (1e-4, 3e-4, 1e-3, *search.START)}
    line = dict(table['rows'][0], name='learned', config=f'configs/{learned.config}')
    line = dict(line, options=list(SMALL), rates=rates)
    assert known({**table, 'rows': [line]}, 0, 1) == {'learned': [50.0, 50.0]}
    for rate in ('0.3', '0.0003'):  # from which it starts, and a neighbour of the best
        fewer = {key: score for key, score in rates.items() if key != rate}
        assert known({**table, 'rows': [dict(line, rates=fewer)]}, 0, 1) == {}
    other = dict(line, rates={**rates, '0.02': 50.0})
    assert known({**table, 'rows': [other]}, 0, 1) == {}
