"""Validation and test name what they cannot read, whichever tool runs them."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner

from mmseg_ssprompt.datasets import DatasetError, UnreadableFileError
from picture_files import LOAD
from toy_training import NoisySlope, Weight
from trees import write_pair


@pytest.fixture
def folder(tmp_path):
    labels = np.zeros((6, 8), np.uint8)
    for index in range(2):
        write_pair(tmp_path, f'img/{index}.png', f'ann/{index}.png', labels[..., None], labels)
    return tmp_path


def build(folder: Path, split: str, workers: int = 0, img_suffix: str = '.png') -> Runner:
    """A runner as mmseg's tools build it, which has no loop but the one of a split."""
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        img_suffix=img_suffix,
        pipeline=LOAD,
    )
    options = {
        f'{split}_dataloader': dict(
            dataset=dataset,
            batch_size=1,
            num_workers=workers,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        f'{split}_cfg': dict(type=f'Prompt{split.title()}Loop'),
        f'{split}_evaluator': [Weight()],
    }
    name = f'{folder.name}_{split}'
    work_dir = str(folder / 'work')
    return Runner(NoisySlope(), work_dir, experiment_name=name, default_scope='mmseg', **options)


@pytest.mark.parametrize('split', ['val', 'test'])
def test_an_empty_data_set_names_its_folder(folder, split):
    before = dict(vars(BaseDataset))
    with pytest.raises(DatasetError, match=r"is empty: expected '\*\.tif' images"):
        getattr(build(folder, split, img_suffix='.tif'), split)()
    assert dict(vars(BaseDataset)) == before


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_damaged_file_is_named(folder, split, workers):
    before = dict(vars(BaseDataset))
    (folder / 'img' / '0.png').write_bytes(b'')
    runner = build(folder, split, workers)
    with pytest.raises(UnreadableFileError, match=r"img/0\.png'.*found 0 bytes"):
        getattr(runner, split)()
    assert dict(vars(BaseDataset)) == before
