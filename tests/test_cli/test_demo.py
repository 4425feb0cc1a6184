"""The demo compares what the test tool has measured before and after a training."""

import json
from pathlib import Path
from typing import List, Optional

import pytest
import torch

from commands import TOOLS, run_here
from mmseg_ssprompt.cli import demo
from mmseg_ssprompt.models.heads.ssprompt_head import HeadOutput

SHORT = (
    *('train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2'),
    *('train_dataloader.dataset.num_images=4', 'val_dataloader.dataset.num_images=2'),
    *('test_dataloader.dataset.num_images=4', 'default_hooks.logger.interval=1'),
)


@pytest.fixture
def started(tmp_path, monkeypatch) -> List[str]:
    """The tools that the demo starts, which run in this process, on few scenes."""
    tools: List[str] = []

    def run_logged(command: List[str], log: Path) -> float:
        tool, *arguments = command[1:]
        assert Path(tool).parent == TOOLS
        tools.append(Path(tool).name)
        unique = f'{tmp_path.name}_{len(tools)}'  # mmengine keeps one of each name
        names = (f'experiment_name={unique}', f'visualizer.name={unique}')
        run_here(tools[-1], *arguments, '--cfg-options', *SHORT, *names)
        return 0.0

    monkeypatch.setattr(demo, 'run_logged', run_logged)
    monkeypatch.chdir(tmp_path)
    return tools


@pytest.mark.parametrize(
    ('base', 'work_dir', 'trained'),
    [('sam', 'demo', (13002, 1407189)), ('seem', 'demo_seem', (4778, 1521593))],
)
def test_demo(started, tmp_path, capsys, base, work_dir, trained):
    run_here('demo', '--base', base, '--seed', 3)
    assert started == ['test.py', 'train.py', 'test.py']
    printed = capsys.readouterr().out
    assert '--cfg-options randomness.seed=3 train_dataloader.dataset.seed=3' in printed
    assert printed.splitlines()[-2:] == [
        f'work_dirs/{work_dir}/summary.json',
        f'work_dirs/{work_dir}/comparison.png',
    ]
    folder = tmp_path / 'work_dirs' / work_dir
    summary = json.loads((folder / 'summary.json').read_text())
    assert (summary['base'], summary['seed']) == (base, 3)
    assert (summary['trainable_parameters'], summary['frozen_parameters']) == trained
    assert Path(summary['checkpoint']).name == 'iter_2.pth'
    (tested,) = (folder / 'test').glob('*/*.json')
    assert summary['ssprompt_miou'] == json.loads(tested.read_text())['mIoU']
    assert (folder / 'comparison.png').stat().st_size > 10000


@pytest.mark.parametrize(
    ('task', 'main', 'key', 'last_row'),
    [
        ('panoptic', 'PQ', 'pq', 'PQ all'),
        pytest.param('instance', 'segm_mAP', 'map', 'mAP all', marks=pytest.mark.slow),
    ],
)
def test_demo_of_segments(started, tmp_path, capsys, task, main, key, last_row):
    run_here('demo', '--task', task)
    assert started == ['test.py', 'train.py', 'test.py']
    printed = capsys.readouterr().out
    assert last_row in printed
    folder = tmp_path / 'work_dirs' / f'demo_{task}'
    summary = json.loads((folder / 'summary.json').read_text())
    (tested,) = (folder / 'test').glob('*/*.json')
    assert summary[f'ssprompt_{key}'] == json.loads(tested.read_text())[main]
    assert ('zero_shot_things_pq' in summary) == (task == 'panoptic')
    assert len(summary['per_class']) == (10 if task == 'panoptic' else 6)
    assert (folder / 'comparison.png').stat().st_size > 10000


@pytest.mark.parametrize(
    ('path', 'shown'), [('/here/a/b.py', 'a/b.py'), ('/there/b.py', '/there/b.py'), ('-x', '-x')]
)
def test_paths_are_printed_as_they_are_typed(monkeypatch, path, shown):
    monkeypatch.setattr(Path, 'cwd', lambda: Path('/here'))
    assert demo._shorten(path) == shown


class FakeHead:
    """What ``mark_prompts`` asks a head: its classes, and prompts of the base model's own."""

    class_names = ('sky', 'sea')

    def __init__(self, own_prompts: Optional[torch.Tensor]) -> None:
        self.segmenter = self
        self.default_prompts = lambda: own_prompts


def head_output() -> HeadOutput:
    """Four prompts in a frame of 8 x 16 pixels: an empty mask, and the mask of one place each."""
    masks, labels = torch.full((1, 4, 8, 16), -5.0), torch.zeros(1, 4, 3)
    for prompt, (x, y, label) in enumerate([(2, 1, 0), (9, 3, 1), (15, 7, 2)], start=1):
        masks[0, prompt, y, x] = 5
        labels[0, prompt, label] = 1
    return HeadOutput(masks, labels)


def test_prompts_that_start_from_points_are_drawn_there():
    marks = demo.mark_prompts(FakeHead(None), head_output(), (8, 16))
    assert marks == [(4, 2, 0), (12, 2, 0), (4, 6, 1), (12, 6, None)]


def test_prompts_without_a_place_are_drawn_in_their_masks():
    marks = demo.mark_prompts(FakeHead(torch.zeros(4, 1, 2)), head_output(), (8, 16))
    assert marks == [(2, 1, 0), (9, 3, 1), (15, 7, None)]
