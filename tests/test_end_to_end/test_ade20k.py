"""The real configuration, at its real size, on photographs laid out as ADE20K.

The weights are random, in files of the official formats; see ``docs/method.md``.
"""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from clip_files import make_clip, openai_state_dict, save_torchscript
from mmseg_ssprompt.models.sam.variants import build_sam
from trees import make_ade20k_tree

from .tools import CONFIGS, ROOT, free_port, mmseg_tool, read_metrics, run, run_tool

from mmseg.registry import DATASETS  # isort: skip

pytestmark = pytest.mark.slow
CONFIG = CONFIGS / 'ssprompt_sam_ade20k.py'
# CamVid's classes under ADE20K's names.
NAMES = (
    *('sky', 'building', 'pole', 'road', 'sidewalk', 'tree'),
    *('signboard', 'fence', 'car', 'person', 'bicycle'),
)
OPTIONS = ('--cfg-options', 'train_cfg.max_iters=2')
FEW_WORKERS = ('train_dataloader.num_workers=1', 'val_dataloader.num_workers=1')


@pytest.fixture(scope='module')
def workspace(tmp_path_factory) -> Path:
    """A folder with ``data/`` and ``weights/`` where the config looks for them."""
    folder = tmp_path_factory.mktemp('ade20k')
    classes = DATASETS.get('ADE20KDataset').METAINFO['classes']
    ids = [classes.index(name) + 1 for name in NAMES]
    make_ade20k_tree(folder / 'data' / 'ade' / 'ADEChallengeData2016', ids)
    weights = folder / 'weights'
    weights.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(build_sam('vit_b').state_dict(), weights / 'sam_vit_b_01ec64.pth')
    clip = openai_state_dict(make_clip('ViT-B/16'))
    half = {k: v.half() if v.is_floating_point() else v for k, v in clip.items()}
    save_torchscript(half, weights / 'ViT-B-16.pt')
    yield folder
    for file in weights.iterdir():
        file.unlink()


@pytest.fixture(scope='module')
def trained(workspace) -> Path:
    """The checkpoint after two steps and validation."""
    output = run_tool(
        'train.py',
        CONFIG,
        '--work-dir',
        'ours',
        *OPTIONS,
        cwd=workspace,
    )
    assert 'Iter(val) [1/1]' in output
    assert 'RANDOM WEIGHTS' not in output
    return workspace / 'ours' / 'iter_2.pth'


def test_sizes_are_the_real_ones():
    model = Config.fromfile(CONFIG).model
    assert model.decode_head.num_classes == 150
    assert model.decode_head.spatial_prompts.num_prompts == 100
    assert model.data_preprocessor.size == (1024, 1024)


def test_training_validates_and_leaves_a_checkpoint_that_test_loads(workspace, trained):
    state = torch.load(trained, weights_only=True)['state_dict']
    assert state['decode_head.spatial_prompts.fusion.learned'].shape == (100, 2, 256)
    assert state['decode_head.semantic_prompts.fusion.learned'].shape == (150, 512)
    assert trained.stat().st_size < 10e6  # SAM alone has 375 MB
    run_tool('test.py', CONFIG, trained, '--work-dir', 'test', cwd=workspace)
    assert 0 <= read_metrics(workspace / 'test')['mIoU'] <= 100


def test_mmseg_s_own_train_tool(workspace):
    run(
        *(sys.executable, mmseg_tool('train.py'), CONFIG, '--work-dir', 'mmseg'),
        *(*OPTIONS, *FEW_WORKERS),
        cwd=workspace,
    )
    assert (workspace / 'mmseg' / 'iter_2.pth').is_file()


def test_two_processes(workspace):
    output = run(
        *('bash', ROOT / 'tools' / 'dist_train.sh', CONFIG, 2, '--work-dir', 'two'),
        *(*OPTIONS, 'env_cfg.dist_cfg.backend=gloo', *FEW_WORKERS),
        cwd=workspace,
        PORT=free_port(),
    )
    assert (workspace / 'two' / 'iter_2.pth').is_file()
    assert 'find_unused_parameters=False' in output
