"""Folders with data and files of weights, as the real configs expect them."""

from pathlib import Path
from typing import Iterator

import pytest
import torch
from mmseg.registry import DATASETS

from clip_files import make_clip, openai_state_dict, save_torchscript, vision_of
from mmseg_ssprompt.models.sam.sam_variants import build_sam
from trees import make_ade20k_tree

# CamVid's classes under ADE20K's names.
ADE20K_NAMES = (
    *('sky', 'building', 'pole', 'road', 'sidewalk', 'tree'),
    *('signboard', 'fence', 'car', 'person', 'bicycle'),
)


@pytest.fixture(scope='module')
def ade20k_workspace(tmp_path_factory) -> Iterator[Path]:
    """``data/`` with photographs in ADE20K's layout, and ``weights/`` with the official files.

    The weights are random: SAM ViT-B, and CLIP ViT-B/16 with both towers.
    """
    folder = tmp_path_factory.mktemp('ade20k')
    classes = DATASETS.get('ADE20KDataset').METAINFO['classes']
    ids = [classes.index(name) + 1 for name in ADE20K_NAMES]
    make_ade20k_tree(folder / 'data' / 'ade' / 'ADEChallengeData2016', ids)
    weights = folder / 'weights'
    weights.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(build_sam('vit_b').state_dict(), weights / 'sam_vit_b_01ec64.pth')
    clip = openai_state_dict(make_clip('ViT-B/16', vision_of('ViT-B/16')))
    half = {k: v.half() if v.is_floating_point() else v for k, v in clip.items()}
    save_torchscript(half, weights / 'ViT-B-16.pt')
    yield folder
    for file in weights.iterdir():
        file.unlink()
