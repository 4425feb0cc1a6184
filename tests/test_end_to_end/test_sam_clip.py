"""Zero-shot segmentation of photographs with SAM and CLIP at their real sizes.

The weights are random, in files of the official formats; see ``docs/region-classifier.md``.
"""

from pathlib import Path
from typing import Dict

import cv2
import numpy as np
import pytest

from .tools import CONFIGS, read_metrics, run_tool

pytestmark = [pytest.mark.slow, pytest.mark.process]
ZERO_SHOT = CONFIGS / 'ssprompt_sam-clip_ade20k_zero-shot.py'
#: Other than ADE20K's, in part.
NAMES = 'road, Sky,unicorn,building,hot-air balloon'


def label_maps(folder: Path) -> Dict[str, np.ndarray]:
    return {file.name: cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in folder.iterdir()}


def test_nothing_is_trained_and_names_are_given_at_test_time(ade20k_workspace):
    output = run_tool(
        *('test.py', ZERO_SHOT, '--work-dir', 'zero', '--out', 'zero-maps'), cwd=ade20k_workspace
    )
    assert 'RANDOM WEIGHTS' not in output
    assert 0 <= read_metrics(ade20k_workspace / 'zero')['mIoU'] <= 100
    own = label_maps(ade20k_workspace / 'zero-maps')

    output = run_tool(
        *('test.py', ZERO_SHOT, '--work-dir', 'other', '--out', 'other-maps', '--classes', NAMES),
        cwd=ade20k_workspace,
    )
    assert '2 of 5 class names are none of the test data set ADE20KDataset' in output
    assert "['unicorn', 'hot-air balloon']" in output
    figures = read_metrics(ade20k_workspace / 'other')
    names = [name.strip() for name in NAMES.split(',')]
    assert {f'IoU.{name}' for name in names} <= set(figures)
    labelled = [figures[f'IoU.{name}'] for name in ('road', 'Sky', 'building')]
    assert figures['mIoU.labelled'] == pytest.approx(np.nanmean(labelled), abs=1e-3)
    other = label_maps(ade20k_workspace / 'other-maps')
    assert own.keys() == other.keys()
    for name, labels in other.items():
        assert labels.shape == own[name].shape
        assert labels.max() < len(names)


def test_training_from_cached_features_of_both_encoders(ade20k_workspace):
    config = CONFIGS / 'ssprompt_sam-clip_ade20k_cached.py'
    few = ('--cfg-options', 'train_dataloader.dataset.views=1', 'train_cfg.max_iters=2')
    run_tool('cache', config, *few, cwd=ade20k_workspace)
    (ade20k_workspace / 'data' / 'ade').rename(ade20k_workspace / 'gone')  # no images are needed
    output = run_tool('train.py', config, '--work-dir', 'cached', *few, cwd=ade20k_workspace)
    assert 'Iter(val)' in output
    assert (ade20k_workspace / 'cached' / 'iter_2.pth').stat().st_size < 10e6
