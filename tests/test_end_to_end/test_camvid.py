"""Real photographs: prompts learned on them segment them better than before."""

import pytest

from trees import link_camvid

from .tools import CONFIGS, read_metrics, run_tool

pytestmark = [pytest.mark.slow, pytest.mark.process]
CONFIG = CONFIGS / 'ssprompt_sam-tiny_camvid_subset.py'


def test_learning_raises_miou(tmp_path):
    link_camvid(tmp_path / 'data' / 'CamVid')
    run_tool('test.py', CONFIG, '--work-dir', tmp_path / 'before', cwd=tmp_path)
    run_tool(
        *('train.py', CONFIG, '--work-dir', tmp_path / 'train', '--cfg-options'),
        *('train_cfg.max_iters=60', 'train_cfg.val_interval=60', 'param_scheduler.1.end=60'),
        cwd=tmp_path,
    )
    checkpoint = (tmp_path / 'train' / 'last_checkpoint').read_text()
    run_tool('test.py', CONFIG, checkpoint, '--work-dir', tmp_path / 'after', cwd=tmp_path)
    before, after = (read_metrics(tmp_path / name) for name in ('before', 'after'))
    assert after['mIoU'] > before['mIoU'] + 5
    assert after['mIoU.stuff'] > before['mIoU.stuff']
