"""The real configuration, at its real size, on photographs laid out as ADE20K.

The weights are random, in files of the official formats; see ``docs/method.md``.
"""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from .tools import CONFIGS, ROOT, free_port, mmseg_tool, read_metrics, run, run_tool

pytestmark = [pytest.mark.slow, pytest.mark.process]
CONFIG = CONFIGS / 'ssprompt_sam_ade20k.py'
OPTIONS = ('--cfg-options', 'train_cfg.max_iters=2')
FEW_WORKERS = ('train_dataloader.num_workers=1', 'val_dataloader.num_workers=1')


@pytest.fixture(scope='module')
def trained(ade20k_workspace) -> Path:
    """The checkpoint after two steps and validation."""
    output = run_tool(
        'train.py',
        CONFIG,
        '--work-dir',
        'ours',
        *OPTIONS,
        cwd=ade20k_workspace,
    )
    assert 'Iter(val) [1/1]' in output
    assert 'RANDOM WEIGHTS' not in output
    return ade20k_workspace / 'ours' / 'iter_2.pth'


def test_sizes_are_the_real_ones():
    model = Config.fromfile(CONFIG).model
    assert model.decode_head.num_classes == 150
    assert model.decode_head.spatial_prompts.num_prompts == 100
    assert model.data_preprocessor.size == (1024, 1024)


def test_training_validates_and_leaves_a_checkpoint_that_test_loads(ade20k_workspace, trained):
    state = torch.load(trained, weights_only=True)['state_dict']
    assert state['decode_head.spatial_prompts.fusion.learned'].shape == (100, 2, 256)
    assert state['decode_head.semantic_prompts.fusion.learned'].shape == (150, 512)
    assert trained.stat().st_size < 10e6  # SAM alone has 375 MB
    run_tool('test.py', CONFIG, trained, '--work-dir', 'test', cwd=ade20k_workspace)
    assert 0 <= read_metrics(ade20k_workspace / 'test')['mIoU'] <= 100


def test_mmseg_s_own_train_tool(ade20k_workspace):
    run(
        *(sys.executable, mmseg_tool('train.py'), CONFIG, '--work-dir', 'mmseg'),
        *(*OPTIONS, *FEW_WORKERS),
        cwd=ade20k_workspace,
    )
    assert (ade20k_workspace / 'mmseg' / 'iter_2.pth').is_file()


def test_two_processes(ade20k_workspace):
    output = run(
        *('bash', ROOT / 'tools' / 'dist_train.sh', CONFIG, 2, '--work-dir', 'two'),
        *(*OPTIONS, 'env_cfg.dist_cfg.backend=gloo', *FEW_WORKERS),
        cwd=ade20k_workspace,
        PORT=free_port(),
    )
    assert (ade20k_workspace / 'two' / 'iter_2.pth').is_file()
    assert 'find_unused_parameters=False' in output
