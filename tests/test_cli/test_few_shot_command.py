"""The command draws what the data set would draw, and says which classes are incomplete."""

import json
from pathlib import Path
from typing import Any, Callable

import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

from commands import run_here
from trees import MMSEG_LAYOUT, make_photograph_tree

ROOT = Path(__file__).resolve().parents[2]
CONFIG = MMSEG_LAYOUT


@pytest.fixture
def sample(capsys) -> Callable[..., str]:
    """Run the command in this process, and return what it prints."""

    def run(*arguments: Any) -> str:
        run_here('few-shot', *arguments)
        return capsys.readouterr().out

    return run


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photograph_tree(tmp_path / 'data' / 'photographs', num_images=13)
    return tmp_path


def test_what_is_drawn_is_used(data, sample):
    printed = sample(CONFIG, '--shots', 1, '--seed', 2, '--out', 'out/draw.json')
    assert '11 images, 1 shots, seed 2: 11 classes complete, 0 incomplete' in printed
    written = (data / 'out' / 'draw.json').read_text()
    whole = Config.fromfile(CONFIG).train_dataloader.dataset
    few = dict(type='FewShotDataset', shots=1, seed=2, dataset=whole)
    used = DATASETS.build(dict(few, manifest='out/draw.json'))
    assert (data / 'out' / 'draw.json').read_text() == written
    assert used.drawn == DATASETS.build(few).drawn == json.loads(written)


def test_incomplete_classes_are_named(data, sample):
    printed = sample(CONFIG, '--shots', 2, '--seed', 1, '--out', 'draw.json')
    lines = {line[:11].strip(): line[11:].split(maxsplit=1) for line in printed.splitlines()}
    assert lines['sky'] == ['2']
    assert lines['bicyclist'] == ['0', 'incomplete: all 13 images with it are drawn']
    assert '13 images, 2 shots, seed 1: 6 classes complete, 5 incomplete' in printed


def test_wrapped_data_sets(data, sample):
    """The draw that the config asks for, unless arguments say otherwise."""
    wrapped = data / 'config.py'
    wrapped.write_text(
        f'_base_ = [{str(CONFIG)!r}]\n'
        "few = dict(type='FewShotDataset', shots=1, seed=3, min_pixels=2,\n"
        '           dataset={{_base_.train_dataloader.dataset}})\n'
        'train_dataloader = dict(\n'
        "    dataset=dict(_delete_=True, type='RepeatDataset', times=2, dataset=few))\n"
    )
    sample(wrapped, '--seed', 4, '--out', 'draw.json')
    manifest = json.loads((data / 'draw.json').read_text())
    assert [manifest[key] for key in ('shots', 'seed', 'min_pixels')] == [1, 4, 2]
    assert manifest['dataset'] == 'BaseSegDataset'
