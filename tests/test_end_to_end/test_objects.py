"""Data sets with objects train and test on the tiny bases, in their own layouts."""

import json
import os
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import DATASETS

from seem_files import save_official_file
from segment_trees import LAYOUTS
from tiny_model import use_sam_tiny, use_tiny_seem

from .test_distributed import tool
from .tools import CONFIGS, ROOT, run_tool

#: What validation reads: the training set, which the smallest trees have.
PIPELINES = dict(
    train=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadSegments'),
        dict(type='ResizeWithLabels', scale=(96, 96), keep_ratio=True, backend='pillow'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackSegmentInputs', min_pixels=4),
    ],
    val=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 96), keep_ratio=True, backend='pillow'),
        dict(type='LoadSegments'),
        dict(type='PackSegmentInputs', min_pixels=0),
    ],
)


def config_of(name: str, folder: Path, base: str = 'sam_ade20k') -> Config:
    """A config for one step on a tree in a folder."""
    layout = LAYOUTS[name]
    layout.make(folder / 'data')
    settings = dict(layout.train, type=layout.type, data_root=str(folder / 'data'))
    metainfo = DATASETS.build(settings).metainfo
    task = 'panoptic' if metainfo['stuff_classes'] else 'instance'
    cfg = Config.fromfile(CONFIGS / f'ssprompt_{base}_{task}.py')
    for split in ('train', 'val', 'test'):
        pipeline = PIPELINES['train' if split == 'train' else 'val']
        loader = cfg[f'{split}_dataloader']
        loader.dataset = dict(settings, pipeline=pipeline)
        loader.update(num_workers=0, persistent_workers=False)
    head = cfg.model.decode_head
    head.num_classes = len(metainfo['classes'])
    head.semantic_prompts.dataset = layout.type
    head.thing_classes = list(metainfo['thing_classes'])
    if task == 'instance':  # which needs no package to be written only
        evaluator = dict(type='InstanceMetric', format_only=True, output_dir=str(folder / 'out'))
        cfg.val_evaluator = cfg.test_evaluator = evaluator
    cfg.merge_from_dict(
        dict(
            work_dir=str(folder / 'work_dir'),
            experiment_name=f'{folder.name}_{name}',
            visualizer=dict(name=f'{folder.name}_{name}'),  # mmengine keeps one of each name
            train_cfg=dict(max_iters=2, val_interval=2),
            default_hooks=dict(logger=dict(interval=1), checkpoint=dict(interval=1)),
            randomness=dict(seed=0),
        )
    )
    return cfg


def logged(folder: Path) -> Any:
    """What a run has logged: steps, and figures of validation."""
    (log,) = (folder / 'work_dir').glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize('name', LAYOUTS)
def test_sam_trains_and_tests(name, tmp_path):
    cfg = config_of(name, tmp_path)
    use_sam_tiny(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    lines = logged(tmp_path)
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert len(losses) == 2 and np.isfinite(losses).all()
    if cfg.val_evaluator.type == 'PanopticMetric':
        assert 0 <= lines[-1]['PQ'] <= 100
        return
    for kind in ('segm', 'bbox'):
        entries = json.loads((tmp_path / 'out' / f'instances_{kind}.json').read_text())
        assert {entry['image_id'] for entry in entries} <= {
            record['img_id'] for record in runner.val_dataloader.dataset.load_data_list()
        }


@pytest.mark.parametrize('name', ['cityscapes_panoptic', 'cityscapes_instances', 'coco_panoptic'])
def test_seem_trains_and_tests(name, tmp_path):
    cfg = config_of(name, tmp_path, 'seem_focal-t_cityscapes')
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if 'Resize' in step.type:
                step.clear()
                step.update(type='SEEMResize', min_size=48, max_size=96)
    save_official_file('tiny', tmp_path / 'seem.pt')
    use_tiny_seem(cfg, str(tmp_path / 'seem.pt'))
    Runner.from_cfg(cfg).train()
    losses = [line['loss'] for line in logged(tmp_path) if 'loss' in line]
    assert len(losses) == 2 and np.isfinite(losses).all()


# Longer ways, of one real layout and of the miniature.

SMALL: Dict[str, str] = dict(
    shapes=f"""
_base_ = [{str(CONFIGS / 'ssprompt_sam-tiny_shapes_panoptic.py')!r}]
train_dataloader = dict(dataset=dict(num_images=8))
val_dataloader = dict(batch_size=2, dataset=dict(num_images=5))
test_dataloader = dict(batch_size=2, dataset=dict(num_images=5))
""",
    instances=f"""
_base_ = [{str(CONFIGS / 'ssprompt_sam-tiny_shapes_instance.py')!r}]
train_dataloader = dict(dataset=dict(num_images=8))
val_dataloader = dict(batch_size=2, dataset=dict(num_images=5))
test_dataloader = dict(batch_size=2, dataset=dict(num_images=5))
val_evaluator = dict(format_only=True, output_dir='out')
test_evaluator = val_evaluator
""",
)
SCHEDULE = """
custom_imports = dict(imports=['mmseg_ssprompt', 'repeatable_points'])
custom_hooks = [dict(type='RepeatablePointsHook')]
env_cfg = dict(dist_cfg=dict(backend='gloo'))
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
"""
CACHED = """
embedded = dict(
    type='EmbeddedDataset',
    encoder=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    dtype='float32',
)
train_dataloader = dict(
    dataset=dict(
        embedded, _delete_=True, cache_dir='cache/train', dataset=_base_.train_dataloader.dataset
    )
)
val_dataloader = dict(
    dataset=dict(
        embedded,
        _delete_=True,
        test_mode=True,
        cache_dir='cache/val',
        dataset=_base_.val_dataloader.dataset,
    )
)
test_dataloader = val_dataloader
model = dict(
    data_preprocessor=dict(_delete_=True, type='EmbeddingPreProcessor'),
    backbone=dict(_delete_=True, type='PrecomputedFeatures', encoder=_base_.model.backbone),
)
"""


#: AdamW moves an element by up to its learning rate, 1e-2, however small the gradient is: where
#: that is all but zero, its rounding shows.
ROUNDING = 2e-4


def write_config(folder: Path, name: str) -> Path:
    """``config.py`` of a small run, and ``cached.py`` that takes embeddings in its place."""
    if name == 'cityscapes':
        cfg = config_of('cityscapes_panoptic', folder)
        use_sam_tiny(cfg)
        cfg.pop('work_dir')
        cfg.val_dataloader.batch_size = cfg.test_dataloader.batch_size = 1
        cfg.dump(folder / 'whole.py')
        text = f'_base_ = [{str(folder / "whole.py")!r}]\n'
    else:
        text = SMALL[name]
    (folder / 'config.py').write_text(text + SCHEDULE)
    (folder / 'cached.py').write_text(f'_base_ = [{str(folder / "config.py")!r}]\n{CACHED}')
    return folder


def tensors(file: Path) -> Dict[str, torch.Tensor]:
    state: Dict[str, torch.Tensor] = torch.load(file, weights_only=True)['state_dict']
    return state


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize('name', ['cityscapes', 'shapes', 'instances'])
def test_resumed_and_cached_and_in_two_processes(name, tmp_path):
    folder = write_config(tmp_path, name)
    train = ('train', 1, ['config.py'])
    tool(*train, '--work-dir', 'whole', cwd=folder)
    expected = tensors(folder / 'whole' / 'iter_4.pth')

    stop = ('--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2')
    tool(*train, '--work-dir', 'parts', *stop, cwd=folder)
    tool(*train, '--work-dir', 'parts', '--resume', cwd=folder)
    resumed = tensors(folder / 'parts' / 'iter_4.pth')
    assert all(torch.equal(resumed[key], expected[key]) for key in expected)

    helpers = os.pathsep.join(filter(None, [str(ROOT / 'tests'), os.environ.get('PYTHONPATH')]))
    run_tool('cache', 'cached.py', cwd=folder, PYTHONPATH=helpers)
    tool('train', 1, ['cached.py'], '--work-dir', 'cached', cwd=folder)
    cached = tensors(folder / 'cached' / 'iter_4.pth')
    for key in set(expected) & set(cached):
        torch.testing.assert_close(cached[key], expected[key], rtol=1e-4, atol=ROUNDING)

    half = ('--cfg-options', 'train_dataloader.batch_size=2')
    if name != 'cityscapes':  # whose tree has one batch of one image for each of two processes
        tool('train', 2, ['config.py'], '--work-dir', 'two', *half, cwd=folder)
        two = tensors(folder / 'two' / 'iter_4.pth')
        for key in expected:
            torch.testing.assert_close(two[key], expected[key], rtol=1e-4, atol=ROUNDING)
    else:
        tool('train', 2, ['config.py'], '--work-dir', 'two', cwd=folder)
        assert tensors(folder / 'two' / 'iter_4.pth').keys() == expected.keys()
