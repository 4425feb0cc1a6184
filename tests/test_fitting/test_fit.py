"""Fit from photographs to a report: what is written fits together, whatever interrupts it."""

import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from safetensors.torch import load_file

import mmseg_ssprompt
import warm_processes
from commands import run_here
from fit_trees import CLASSES, make_coco, make_photographs
from mmseg_ssprompt.fitting import engine
from mmseg_ssprompt.fitting.fit_data import FitData
from mmseg_ssprompt.outputs import OutputError
from mmseg_ssprompt.prompt_files.prompt_file import read_prompt_source
from short_fit import few_iterations, short_fit

SCRIPT = Path(__file__).resolve().parents[1] / 'short_fit.py'


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Ten photographs, of which two are for validation and two for the test."""
    root = make_photographs(tmp_path_factory.mktemp('photographs'), 10)
    for part, numbers in dict(val=(0, 1), test=(2, 3)).items():
        for folder in ('photos', 'labels'):
            (root / folder / part).mkdir()
            for number in numbers:
                name = f'{number:02d}.png'
                (root / folder / name).rename(root / folder / part / name)
    return root


@pytest.fixture(scope='module')
def fitted(photographs):
    """One arm, with parts for validation and test."""
    parts = dict(val=str(photographs / 'photos/val'), test=str(photographs / 'photos/test'))
    arguments = dict(parts, method='ssprompt-projection')
    return short_fit(photographs, photographs / 'out', **arguments), arguments


def test_results_are_those_of_the_predictions(fitted):
    result, out = fitted[0], fitted[0].out
    results = json.loads((out / 'results.json').read_text())
    assert results['best'] == result.best == 'ssprompt-projection'
    (arm,) = results['arms']
    assert not results['cross_validated'] and results['pictures_shown'] == 'test'
    confusion = np.array(results['confusion'])
    data = FitData.read(out)
    assert confusion.sum() == sum(
        each.height * each.width for each in data.pictures if each.split == 'test'
    )
    right = confusion.diagonal()
    iou = 100 * right / (confusion.sum(0) + confusion.sum(1) - right)
    for name, value in zip(CLASSES, iou):
        assert arm['test'][f'IoU.{name}'] == pytest.approx(value, abs=0.01)
    assert arm['test']['mIoU'] == pytest.approx(iou.mean(), abs=0.01)
    for folder in ('zero-shot', 'best'):
        for name in ('test/02.png', 'test/03.png'):
            labels = np.array(Image.open(out / 'predictions' / folder / name))
            assert labels.shape == (20, 28) and labels.max() < 3
    curve = dict(arm['curve']['validation'])
    assert list(curve) == [2, 4, 6]
    assert max(curve.values()) == curve[arm['best_iteration']] == arm['validation']['mIoU']
    assert arm['rates'].keys() == {'0.01', '0.03'}
    assert arm['learning_rate'] == max((0.01, 0.03), key=lambda rate: arm['rates'][f'{rate:g}'])


def test_prompts_and_config_are_those_of_the_best(fitted):
    result = fitted[0]
    source = read_prompt_source(result.prompts)
    assert source.class_names == CLASSES
    (arm,) = result.results['arms']
    cfg = Config.fromfile(result.config)
    assert cfg.optim_wrapper.optimizer.lr == arm['learning_rate']
    files = result.out.glob(f'runs/*/final/best_*_{arm["best_iteration"]}.pth')
    (kept,) = (torch.load(file, map_location='cpu')['state_dict'] for file in files)
    assert all(torch.equal(value, kept[key]) for key, value in source.state_dict.items())
    learned = [key for key in kept if 'learned' in key or 'weight_logit' in key]
    assert len(learned) == 4


def test_result_is_shown_in_notebooks(fitted):
    result = fitted[0]
    assert [row['name'] for row in result.table] == ['zero-shot', 'ssprompt-projection']
    shown = result._repr_html_()
    assert '<table>' in shown and f'{result.table[1]["test"]:.1f}' in shown
    assert result.report.is_file() and mmseg_ssprompt.fit.__name__ == 'fit'


def test_a_second_call_does_nothing_again(fitted, photographs, monkeypatch, capsys):
    result, arguments = fitted
    monkeypatch.setattr(engine, 'train', None)
    monkeypatch.setattr(engine, 'evaluate', None)
    assert short_fit(photographs, result.out, **arguments) == result
    assert 'report.html' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('changed', 'said'),
    [(dict(method='auto'), '--method'), (dict(base='seem-tiny'), '--base'), (dict(seed=1), 'seed')],
)
def test_other_arguments_are_refused(fitted, photographs, changed, said):
    result, arguments = fitted
    if 'base' in changed:
        changed = dict(changed, method='auto')
    with pytest.raises(OutputError, match=f'{said}.*another --out'):
        short_fit(photographs, result.out, **{**arguments, **changed})


# ---- slow: trainings of all arms


def figures(out: Path) -> Dict[str, Any]:
    """What does not depend on the clock."""
    results = json.loads((out / 'results.json').read_text())
    del results['seconds']
    for arm in results['arms']:
        del arm['train_seconds']
    files = sorted((out / 'predictions').rglob('*.png'))
    found = {file.relative_to(out).as_posix(): file.read_bytes() for file in files}
    tensors = load_file(out / 'prompts.safetensors')
    found['prompts'] = {name: value.numpy().tobytes() for name, value in tensors.items()}
    return dict(found, results=results)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Six photographs, all arms by cross-validation."""
    root = make_photographs(tmp_path_factory.mktemp('whole'), 6)
    short_fit(root, root / 'out')
    return root


#: Stages as they are said, each to be killed at least once.
STAGES = (
    *('reading', 'encodes', 'zero-shot on', 'short run with rate 0.01', 'short run with rate 0.03'),
    *('fold 1', 'fold 3', 'training on all', 'test on', 'Projection alone, test'),
)


def kill_in(stage: str, whole: Path, seconds: float) -> None:
    """Fit, and kill it in a stage; sooner if it was not there any more."""
    for _ in range(8):
        command = [sys.executable, SCRIPT, whole, whole / 'out', stage, f'{seconds:.4f}']
        done = warm_processes.run(command, cwd=SCRIPT.parent)
        assert done.returncode in (-9, 0), done.stderr
        if done.returncode == -9:
            return
        shutil.rmtree(whole / 'out')  # all is done, so that no stage would come again
        seconds /= 4
    raise AssertionError(f'{stage}: never killed')


@pytest.mark.slow
@pytest.mark.process
def test_killed_in_each_stage(whole, tmp_path):
    """Ten times, in each stage, each at a random moment."""
    out, moments = whole / 'out', random.Random(int(os.environ.get('MMSEG_SSPROMPT_KILLS_SEED', 0)))
    expected = figures(out)
    kept = tmp_path / 'kept'
    out.rename(kept)
    try:
        for stage in STAGES:
            kill_in(stage, whole, moments.uniform(0, 0.1))
        done = warm_processes.run([sys.executable, SCRIPT, whole, out], cwd=SCRIPT.parent)
        assert done.returncode == 0, done.stderr
        assert figures(out) == expected
    finally:
        shutil.rmtree(out, ignore_errors=True)
        kept.rename(out)


@pytest.mark.slow
def test_the_config_gives_the_same_prompts(fitted, whole, tmp_path):
    for out in (fitted[0].out, whole / 'out'):
        results = json.loads((out / 'results.json').read_text())
        arm = next(each for each in results['arms'] if each['name'] == results['best'])
        work_dir = tmp_path / out.parent.name
        run_here('train.py', out / 'config.py', '--work-dir', work_dir)
        start = '' if results['cross_validated'] else 'best_*_'
        (checkpoint,) = work_dir.glob(f'{start}iter_{arm["best_iteration"]}.pth')
        found = torch.load(checkpoint, map_location='cpu')['state_dict']
        expected = load_file(out / 'prompts.safetensors')
        assert all(torch.equal(found[key], value) for key, value in expected.items())
        if arm['test'] is not None:
            run_here('test.py', out / 'config.py', checkpoint, '--work-dir', work_dir / 'test')
            (file,) = (work_dir / 'test').glob('*/*.json')
            assert json.loads(file.read_text())['mIoU'] == arm['test']['mIoU']


@pytest.mark.slow
def test_without_a_test_part_each_fold_is_predicted_by_the_others(tmp_path):
    root = make_photographs(tmp_path, 4)
    result = short_fit(root, root / 'out', method='ssprompt')
    results = result.results
    assert results['cross_validated'] and results['zero_shot']['test'] is None
    for folder in ('zero-shot', 'best'):
        files = (root / 'out/predictions' / folder).glob('*.png')
        assert sorted(file.name for file in files) == [f'{n:02d}.png' for n in range(4)]
    assert np.sum(results['confusion']) == 4 * 20 * 28


@pytest.mark.slow
def test_objects(tmp_path):
    pytest.importorskip('faster_coco_eval')
    make_coco(tmp_path, 6, regions=False)
    data = dict(coco=tmp_path / 'objects.json', classes=['car'])
    with few_iterations():
        result = mmseg_ssprompt.fit(
            tmp_path / 'photos', task='instance', base='seem-tiny', out=tmp_path / 'out', **data
        )
    assert result.metric == 'segm_mAP'
    files = list((tmp_path / 'out/predictions').rglob('*.json'))
    assert {file.parent.name for file in files} == {'zero-shot', 'best', 'truth'}
    assert result.report.is_file()
