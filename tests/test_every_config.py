"""Every configuration is built, stepped and evaluated on data in its own layout.

The trees are made where each config looks for them; sam-tiny, and a tiny SEEM with weights by a
recipe, stand for the weights that cannot be shipped. With the latter, configs of SEEM's other
variants would be those of Focal-T; of these, ``test_configs.py`` compares the few-shot and
zero-shot ones with their twins, and only those of ADE20K run. What trains in the ablations is
tested in ``test_ablation_configs.py``, and the configs that train on a cache in
``test_cache/``.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import segment_trees
from seem_files import save_official_file
from tiny_model import use_sam_tiny, use_tiny_seem
from trees import make_tree

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def _runs(name: str) -> bool:
    if '_cached' in name or name.endswith('_subset'):  # with lists of files; test_camvid.py
        return False
    if '_seem_' not in name:
        return True
    is_twin = name.endswith(('_16shot', '_zero-shot'))
    return '_focal-t_' in name and (not is_twin or '_ade20k_' in name)


NAMES = sorted(file.stem for file in CONFIGS.glob('*.py') if _runs(file.stem))
#: Trees of data sets with objects, by their type.
WITH_OBJECTS = dict(
    ADE20KInstanceDataset=segment_trees.make_ade20k_instances,
    ADE20KPanopticDataset=segment_trees.make_ade20k_panoptic,
    CityscapesInstanceDataset=segment_trees.make_cityscapes,
    CityscapesPanopticDataset=segment_trees.make_cityscapes,
)
#: What an evaluator counts with, and its first figure.
PACKAGES = dict(InstanceMetric='pycocotools', CityscapesInstanceMetric='cityscapesscripts')
FIGURES = dict(
    PanopticMetric='PQ', InstanceMetric='segm_mAP', CityscapesInstanceMetric='cityscapes/mAP'
)
PROMPTS = {f'decode_head.{kind}_prompts.fusion.learned' for kind in ('spatial', 'semantic')}


@pytest.fixture(scope='module')
def seem_file(tmp_path_factory) -> Path:
    """The tiny SEEM's weights in the official format."""
    path = tmp_path_factory.mktemp('seem') / 'seem_tiny.pt'
    save_official_file('tiny', path)
    return path


#: Names of configs that differ from another one in what is made tiny here, or in their files alone;
#: or in the base model alone from one of SAM's, whose data are read here.
TWINS = re.compile(
    '_(davit|focal-l|sam-vit|vit-[lh]|acdc_(fog|night|rain|snow))|-coast'
    '|_(sam-clip|seem_focal-t)_(acdc|bdd100k|mapillary|pascal)|_(acdc|bdd100k|mapillary|-59)_16shot'
    '|seem-tiny_shapes_.*(zero-shot|16shot)'
)
PARAMS = [pytest.param(n, marks=[pytest.mark.slow] if TWINS.search(n) else []) for n in NAMES]


@pytest.fixture(params=PARAMS)
def config(request, tmp_path, monkeypatch, seem_file) -> Config:
    """A configuration for one step, in a folder where its data are."""
    config = Config.fromfile(CONFIGS / f'{request.param}.py')
    monkeypatch.chdir(tmp_path)
    package = PACKAGES.get(config.test_evaluator.type)
    if package is not None:
        pytest.importorskip(package, reason=f'{package} is an extra')
    kind = config.test_dataloader.dataset.type
    if kind in WITH_OBJECTS:
        WITH_OBJECTS[kind](tmp_path / config.data_root)
    elif 'data_root' in config:
        make_tree(tmp_path, config.data_root)
    if '_seem_' in request.param:
        use_tiny_seem(config, str(seem_file))
    elif '_seem-tiny_' not in request.param:
        use_sam_tiny(config)
    config.merge_from_dict(
        dict(
            work_dir=str(tmp_path / 'work_dir'),
            experiment_name=f'every_{request.param}',
            visualizer=dict(name=f'every_{request.param}'),  # mmengine keeps one of each name
            train_cfg=dict(max_iters=1, val_interval=1),
            default_hooks=dict(logger=dict(interval=1)),
            randomness=dict(seed=0),
        )
    )
    for split in ('train', 'val', 'test'):
        loader = config[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        scenes = loader.dataset.get('dataset', loader.dataset)
        if scenes.type.startswith('Shapes'):
            scenes.num_images = 4
    return config


def test_one_step_and_one_evaluation(config):
    handcrafted = config.model.decode_head.spatial_prompts.fusion.mode == 'default_only'
    runner = Runner.from_cfg(config)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    if handcrafted:
        figures = runner.test()
    else:
        runner.train()
        (log,) = Path(config.work_dir).glob('*/vis_data/scalars.json')
        first, *_, figures = [json.loads(line) for line in log.read_text().splitlines()]
        assert np.isfinite(first['loss'])
    after = runner.model.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    assert changed >= (set() if handcrafted else PROMPTS)
    assert not any(key.startswith('backbone') for key in changed)
    # An AP without any object is not a number.
    figure = figures[FIGURES.get(config.test_evaluator.type, 'mIoU')]
    assert 0 <= figure <= 100 or np.isnan(figure)
