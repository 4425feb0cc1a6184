"""SEEM on Cityscapes with 16 images for each class, as users run it.

The data lie as Cityscapes', the weights are in a file of the official format; pictures and SEEM are
small, and the weights are made by a recipe, so that no figure means anything but its equality with
another.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Dict

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from commands import run_here
from repeatable_points import read_losses_of_ranks
from seem_files import save_official_file
from tiny_model import use_tiny_seem
from trees import VOID, write_pair

from .test_distributed import metrics_in_log, tool
from .tools import CONFIGS, ROOT, mmseg_tool, read_metrics, run, run_tool

pytestmark = [pytest.mark.slow, pytest.mark.process]
SHIPPED = CONFIGS / 'ssprompt_seem_focal-t_cityscapes_16shot.py'
STEPS = 8
#: Without random transforms, and with points that do not depend on the batch.
PLAIN = """
_base_ = ['tiny.py']
custom_imports = dict(imports=['mmseg_ssprompt', 'repeatable_points'])
custom_hooks = [dict(type='RepeatablePointsHook')]
env_cfg = dict(dist_cfg=dict(backend='gloo'))
pipeline = [
    step
    for step in _base_.train_dataloader.dataset.dataset.pipeline
    if step['type'] not in ('RandomFlip', 'PhotoMetricDistortion')
]
train_dataloader = dict(batch_size=2, dataset=dict(dataset=dict(pipeline=pipeline)))
"""


def write_picture(root: Path, split: str, city: str, number: int) -> None:
    """A picture in blocks that have the colour of their class, and its label map, 64 x 128."""
    rng = np.random.default_rng(100 * number + len(city))
    colours = np.random.default_rng(0).integers(0, 256, (256, 3))
    ids = rng.permutation([*range(19), *range(12), VOID]).reshape(4, 8).repeat(16, 0).repeat(16, 1)
    picture = np.clip(colours[ids] + rng.normal(0, 12, (*ids.shape, 3)), 0, 255)
    name = f'{split}/{city}/{city}_{number:06d}_000019'
    image, label = f'leftImg8bit/{name}_leftImg8bit.png', f'gtFine/{name}_gtFine_labelTrainIds.png'
    write_pair(root, image, label, picture.astype(np.uint8), ids.astype(np.uint8))


@pytest.fixture(scope='module')
def workspace(tmp_path_factory) -> Path:
    """``data/``, ``weights/`` and the shipped config at the size of the tiny SEEM, ``tiny.py``."""
    folder = tmp_path_factory.mktemp('seem')
    for number in range(6):
        write_picture(folder / 'data' / 'cityscapes', 'train', 'aachen', number)
    for number in range(3):
        write_picture(folder / 'data' / 'cityscapes', 'val', 'lindau', number)
    (folder / 'weights').mkdir()
    config = Config.fromfile(SHIPPED)
    file = config.model.weights.seem
    save_official_file('tiny', folder / file)
    use_tiny_seem(config, file)
    config.merge_from_dict(
        {
            'train_cfg.max_iters': STEPS,
            'train_cfg.val_interval': STEPS,
            'train_dataloader.num_workers': 1,
            'val_dataloader.num_workers': 1,
            'test_dataloader.num_workers': 1,
            'param_scheduler': [],  # so that few steps move the prompts
            'optim_wrapper.optimizer.lr': 0.02,
            'default_hooks.checkpoint.interval': STEPS // 2,
            'default_hooks.logger.interval': 1,
            'log_processor.window_size': 1,
            'randomness': dict(seed=0),
        }
    )
    config.dump(folder / 'tiny.py')
    (folder / 'plain.py').write_text(PLAIN)
    cached = SHIPPED.with_name(f'{SHIPPED.stem}_cached.py').read_text()
    base = f"_base_ = ['./{SHIPPED.name}', './_base_/cached.py']"
    assert base in cached
    other = f"_base_ = ['plain.py', {str(CONFIGS / '_base_' / 'cached.py')!r}]"
    (folder / 'cached.py').write_text(cached.replace(base, other))
    return folder


@pytest.fixture(scope='module')
def trained(workspace) -> Path:
    """The checkpoint of a training of a few steps and a validation."""
    output = run_tool('train.py', 'tiny.py', '--work-dir', 'ours', cwd=workspace)
    assert 'RANDOM WEIGHTS' not in output
    assert 'Iter(val) [3/3]' in output
    return workspace / 'ours' / f'iter_{STEPS}.pth'


@pytest.fixture(scope='module')
def tested(workspace, trained) -> Dict[str, float]:
    """The figures of a test of that checkpoint."""
    arguments = ('tiny.py', trained, '--work-dir', 'test', '--out', 'maps')
    run_tool('test.py', *arguments, cwd=workspace)
    return read_metrics(workspace / 'test')


@pytest.fixture(scope='module')
def plain(workspace) -> Path:
    """The folder of a training of one process on two images a batch."""
    tool('train', 1, ['plain.py'], '--work-dir', 'one', cwd=workspace)
    return workspace / 'one'


def losses(work_dir: Path) -> Dict[int, float]:
    """Loss by step, of all runs in a work_dir."""
    lines = [
        json.loads(line)
        for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in file.read_text().splitlines()
    ]
    return {line['step']: line['loss'] for line in lines if 'loss' in line}


def read(checkpoint: Path) -> Dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)


def read_maps(folder: Path) -> np.ndarray:
    """All label maps of a folder, in the order of their names."""
    files = sorted(folder.iterdir())
    return np.stack([cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in files])


def assert_same(found: Any, expected: Any, name: str = '') -> None:
    """Equal to the bit, whatever is nested."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), name
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), name
        for key in expected:
            assert_same(found[key], expected[key], f'{name}.{key}')
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), name
        for number, pair in enumerate(zip(found, expected)):
            assert_same(*pair, f'{name}.{number}')
    else:
        assert found == expected, name


def test_training_moves_the_prompts_and_saves_nothing_else(workspace, trained):
    state = read(trained)['state_dict']
    parts = ('default', 'learned', 'weight_logit')
    kinds = ('spatial', 'semantic')
    assert set(state) == {f'decode_head.{k}_prompts.fusion.{p}' for k in kinds for p in parts}
    assert state['decode_head.spatial_prompts.fusion.learned'].shape == (11, 2, 32)
    assert state['decode_head.semantic_prompts.fusion.learned'].shape == (19, 32)
    before = read(trained.with_name(f'iter_{STEPS // 2}.pth'))['state_dict']
    for kind in kinds:
        assert state[f'decode_head.{kind}_prompts.fusion.weight_logit'].any()
        learned, default = (
            f'decode_head.{kind}_prompts.fusion.{p}' for p in ('learned', 'default')
        )
        assert not torch.equal(state[learned], before[learned])
        assert torch.equal(state[default], before[default])
    manifest = workspace / 'data' / 'few_shot' / 'cityscapes_16shot_seed1.json'
    assert manifest.is_file()


def test_testing_gives_the_figures_of_the_validation(workspace, trained, tested):
    lines = (next((workspace / 'ours').glob('*/vis_data/scalars.json'))).read_text().splitlines()
    assert tested['mIoU'] == pytest.approx(json.loads(lines[-1])['mIoU'], abs=0.01)
    names = sorted(file.name for file in (workspace / 'maps').iterdir())
    assert names == [f'lindau_{n:06d}_000019_leftImg8bit.png' for n in range(3)]
    maps = read_maps(workspace / 'maps')
    assert maps.shape == (3, 64, 128) and maps.max() < 19
    assert len(np.unique(maps)) > 3  # else the figures would be much the same in any case


def test_resuming_gives_the_same_to_the_bit(workspace, trained):
    folder = workspace / 'resumed'
    folder.mkdir()
    half = shutil.copy(trained.with_name(f'iter_{STEPS // 2}.pth'), folder)
    (folder / 'last_checkpoint').write_text(str(half))
    output = run_tool('train.py', 'tiny.py', '--work-dir', folder, '--resume', cwd=workspace)
    assert f'resumed epoch: 0, iter: {STEPS // 2}' in output
    expected, found = read(trained), read(folder / trained.name)
    for part in ('state_dict', 'optimizer'):
        assert_same(found[part], expected[part], part)
    history = losses(workspace / 'ours')
    assert sorted(history) == list(range(1, STEPS + 1))
    assert losses(folder) == {step: history[step] for step in range(STEPS // 2 + 1, STEPS + 1)}


def test_mmseg_s_own_tools(workspace, trained, tested):
    printed = run_tool('mmseg', 'print_config', 'tiny.py', cwd=workspace)
    assert "type='SEEMSegmenter'" in printed and "variant='focal_tiny'" in printed
    own = (sys.executable, mmseg_tool('train.py'), 'tiny.py', '--work-dir', 'mmseg')
    run(*own, cwd=workspace)
    assert losses(workspace / 'mmseg') == losses(workspace / 'ours')
    own = (sys.executable, mmseg_tool('test.py'), 'tiny.py', trained, '--work-dir', 'mmseg-test')
    run(*own, cwd=workspace)
    found = read_metrics(workspace / 'mmseg-test')
    for name in ('mIoU', 'mAcc', 'aAcc'):
        assert found[name] == tested[name]


def test_two_processes_train_and_test_as_one(workspace, trained, plain, tested):
    one_image = ('--cfg-options', 'train_dataloader.batch_size=1')
    tool('train', 2, ['plain.py'], '--work-dir', 'two', *one_image, cwd=workspace)
    expected, found = map(read_losses_of_ranks, (plain, workspace / 'two'))
    assert len(expected) == len(found) == STEPS
    for step, reference in enumerate(expected):
        for name in (name for name in reference if 'loss' in name):
            assert found[step][name] == pytest.approx(reference[name], rel=1e-4), (step, name)
    states = [read(folder / trained.name)['state_dict'] for folder in (plain, workspace / 'two')]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-4, atol=1e-5)
    output = tool('test', 2, ['plain.py', trained], cwd=workspace)
    assert float(metrics_in_log(output)['mIoU']) == pytest.approx(tested['mIoU'], abs=0.01)


@pytest.fixture(scope='module')
def cached(workspace) -> Path:
    """The folder of a training on a cache, while the images are not there."""
    environment = dict(
        PYTHONPATH=os.pathsep.join([str(ROOT / 'tests'), os.environ.get('PYTHONPATH', '')])
    )
    said = run_tool('cache', 'cached.py', cwd=workspace, **environment)
    assert 'GB to write in all' in said and '6 embedded samples in 1 shards' in said
    images = workspace / 'data' / 'cityscapes'
    images.rename(workspace / 'gone')
    tool('train', 1, ['cached.py'], '--work-dir', 'from-cache', cwd=workspace)
    (workspace / 'gone').rename(images)
    return workspace / 'from-cache'


def test_training_on_a_cache_is_training_on_images(plain, cached):
    """Within the rounding of float16, which may assign other masks to labels after some steps."""
    expected, found = map(read_losses_of_ranks, (plain, cached))
    for step, (one, other) in enumerate(zip(expected, found)):
        tolerance = 1e-4 if step < STEPS // 2 else 1e-2
        assert other['loss'] == pytest.approx(one['loss'], rel=tolerance), step
    states = [read(folder / f'iter_{STEPS // 2}.pth')['state_dict'] for folder in (plain, cached)]
    assert states[0].keys() == states[1].keys()
    for key, tensor in states[0].items():
        torch.testing.assert_close(states[1][key], tensor, rtol=0, atol=2e-3)


@pytest.mark.usefixtures('cached')
def test_testing_on_a_cache_is_testing_on_images(workspace, trained, tested):
    arguments = ('cached.py', trained, '--work-dir', 'cached-test', '--out', 'cached-maps')
    tool('test', 1, arguments, cwd=workspace)
    assert read_metrics(workspace / 'cached-test')['mIoU'] == pytest.approx(tested['mIoU'], abs=0.5)
    own, other = (read_maps(workspace / name) for name in ('maps', 'cached-maps'))
    assert own.shape == other.shape == (3, 64, 128)
    assert (own == other).mean() > 0.99


def test_other_classes(workspace, trained):
    names = ('road', 'Sky', 'unicorn')
    options = ('--work-dir', 'other', '--out', 'other-maps', '--classes', ','.join(names))
    output = run_tool('test.py', 'tiny.py', trained, *options, cwd=workspace)
    assert '1 of 3 class names are none of the test data set CityscapesDataset' in output
    assert 'semantic prompts: 2 of 3 classes from the source' in output
    figures = read_metrics(workspace / 'other')
    assert {f'IoU.{name}' for name in names} <= set(figures)
    assert read_maps(workspace / 'other-maps').max() < len(names)


def test_a_file_of_prompts_is_written_and_loaded(workspace, trained, tested, capsys):
    file = workspace / 'prompts.safetensors'
    run_here('prompts convert', trained, file)
    run_here('prompts inspect', file)
    assert 'seem' in capsys.readouterr().out
    run_tool('test.py', 'tiny.py', file, '--work-dir', 'from-file', cwd=workspace)
    found = read_metrics(workspace / 'from-file')
    assert found['mIoU'] == tested['mIoU']
