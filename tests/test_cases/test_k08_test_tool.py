"""Lists of evaluators and wrapped data sets, with every argument of ``tools/test.py``."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from own_photographs import make_photographs, own_config

TEST = Path(__file__).resolve().parents[2] / 'tools' / 'test.py'
PARTS = ('a', 'b')


def two_parts(root: Path) -> Config:
    """Two folders of photographs with the same names, measured by two evaluators."""
    for part in PARTS:
        make_photographs(root / 'd', 2, f'img/{part}', f'ann/{part}')
    cfg = own_config(root / 'd')
    leaf = cfg.test_dataloader.dataset.to_dict()
    parts = [
        dict(leaf, data_prefix=dict(img_path=f'img/{part}', seg_map_path=f'ann/{part}'))
        for part in PARTS
    ]
    repeated = dict(type='RepeatDataset', times=1, dataset=parts[1])
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[parts[0], repeated])
    cfg.test_evaluator = [
        dict(type='IoUMetric'),
        dict(type='IoUMetric', iou_metrics=['mDice'], prefix='second'),
    ]
    return cfg


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the tool in this process, and return its figures."""
    two_parts(tmp_path).dump(tmp_path / 'config.py')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(TEST.parent))

    def run_tool(*arguments):
        monkeypatch.setattr(sys, 'argv', ['test.py', 'config.py', '--work-dir', 'w', *arguments])
        runpy.run_path(str(TEST), run_name='__main__')
        (file,) = Path('w').glob('*/*.json')
        return json.loads(file.read_text())

    return run_tool


def test_views_pictures_and_label_maps(run):
    figures = run('--tta', '--out', 'out', '--show-dir', 'pictures')
    assert {'mIoU', 'second/mDice'} <= set(figures)
    names = {f'{part}/{number}.png' for part in PARTS for number in range(2)}
    for folder in ('out', 'pictures'):
        assert {str(f.relative_to(folder)) for f in Path(folder).rglob('*') if f.is_file()} == names
    assert np.array(Image.open('out/a/0.png')).shape == (48, 64)
    height, width = np.array(Image.open('pictures/a/0.png')).shape[:2]
    assert (height, width) == (48, 2 * 64)  # label map and prediction


def test_other_names(run):
    figures = run('--classes', 'crack,wall', '--out', 'out')
    assert figures['IoU.crack'] == figures['mIoU.labelled']
    found = {value for f in Path('out').rglob('*.png') for value in np.unique(Image.open(f))}
    assert found <= {0, 1}


def test_an_evaluator_that_writes_nothing(tmp_path, monkeypatch, run):
    cfg = two_parts(tmp_path)
    cfg.test_evaluator = [dict(type='DumpResults', out_file_path='results.pkl')]
    cfg.dump(tmp_path / 'config.py')
    run('--out', 'out')
    assert len(list(Path('out').rglob('*.png'))) == 4
    assert Path('results.pkl').is_file()


def test_pictures_without_label_maps(tmp_path, run):
    for file in (tmp_path / 'd' / 'ann' / 'b').iterdir():
        file.unlink()
    figures = run('--out', 'out')
    assert figures['mIoU'] >= 0
    assert len(list(Path('out').rglob('*.png'))) == 4
