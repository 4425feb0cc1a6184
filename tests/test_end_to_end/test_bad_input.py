"""Bad input ends before the first step, with an error that says what is wrong."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.models.sam.sam_variants import build_sam
from mmseg_ssprompt.weights.state_dicts import CheckpointError
from trees import MMSEG_LAYOUT, make_photograph_tree

CONFIG = MMSEG_LAYOUT


@pytest.fixture
def cfg(tmp_path, monkeypatch) -> Config:
    """The CamVid config on random pictures, which trains as it is."""
    monkeypatch.chdir(tmp_path)
    make_photograph_tree(tmp_path / 'data' / 'photographs')
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'work'),
            'experiment_name': tmp_path.name,
            'train_cfg.max_iters': 1,
            'train_cfg.val_interval': 1,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'train_dataloader.batch_size': 2,
            'val_dataloader.num_workers': 0,
            'val_dataloader.persistent_workers': False,
        }
    )
    return cfg


def train(cfg: Config) -> Runner:
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def fails(cfg: Config, error: type) -> str:
    """Train, and return the message of the error that must come before the first step."""
    with pytest.raises(error) as raised:
        train(cfg)
    assert not list(Path(cfg.work_dir).glob('*.pth'))
    assert not any('loss' in f.read_text() for f in Path(cfg.work_dir).rglob('scalars.json'))
    return str(raised.value)


def test_good_input_trains(cfg):
    assert train(cfg).iter == 1
    assert (Path(cfg.work_dir) / 'iter_1.pth').is_file()


def test_missing_weights(cfg):
    cfg.model.backbone.update(variant='vit_b', checkpoint='weights/sam_vit_b_01ec64.pth')
    message = fails(cfg, FileNotFoundError)
    assert "'weights/sam_vit_b_01ec64.pth' does not exist" in message
    assert 'https://github.com/facebookresearch/segment-anything' in message


def test_missing_text_weights(cfg):
    encoder = cfg.model.decode_head.semantic_prompts.text_encoder
    encoder.update(variant='ViT-B/16', checkpoint='weights/ViT-B-16.pt')
    message = fails(cfg, FileNotFoundError)
    assert "'weights/ViT-B-16.pt' does not exist" in message
    assert 'Download ViT-B-16.pt' in message


def test_wrong_variant(cfg, tmp_path):
    torch.save(build_sam('tiny').state_dict(), tmp_path / 'sam.pth')
    cfg.model.backbone.update(variant='vit_b', checkpoint='sam.pth')
    message = fails(cfg, CheckpointError)
    assert "'sam.pth' does not fit SAM variant 'vit_b'" in message
    assert "set variant='tiny'" in message
    assert 'expected shape' in message


def test_text_file_given_as_image(cfg, tmp_path):
    image = tmp_path / 'data' / 'photographs' / 'img_dir' / 'train' / '3.png'
    image.write_text('not a picture')
    message = fails(cfg, DatasetError)
    assert str(image.relative_to(tmp_path)) in message
    assert "13 bytes that begin with b'not a pictur'" in message


def test_label_id_out_of_range(cfg, tmp_path):
    path = tmp_path / 'data' / 'photographs' / 'ann_dir' / 'train' / '2.png'
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[5, 7:10] = 11  # CamVid's void
    cv2.imwrite(str(path), labels)
    message = fails(cfg, DatasetError)
    assert str(path.relative_to(tmp_path)) in message
    assert 'expected ids from 0 to 10' in message
    assert 'found [11] in 3 pixels' in message


def test_label_id_out_of_range_in_validation(cfg, tmp_path):
    path = tmp_path / 'data' / 'photographs' / 'ann_dir' / 'val' / '2.png'
    cv2.imwrite(str(path), np.full((36, 48), 200, np.uint8))
    assert 'found [200] in 1728 pixels' in fails(cfg, DatasetError)


def test_class_count_mismatch_with_the_data(cfg):
    names = list(cfg.train_dataloader.dataset.metainfo.classes)
    cfg.model.decode_head.semantic_prompts.class_names = names[:-1]
    cfg.model.decode_head.num_classes = 10
    message = fails(cfg, DatasetError)
    assert 'has 11 classes, but there are 10 semantic prompts' in message
    assert str(names) in message
    assert str(names[:-1]) in message


def test_class_count_mismatch_with_the_prompts(cfg):
    cfg.model.decode_head.num_classes = 12
    message = fails(cfg, ValueError)
    assert 'num_classes is 12, but there are 11 class names' in message


def test_empty_data_folder(cfg, tmp_path):
    for image in (tmp_path / 'data' / 'photographs' / 'img_dir' / 'train').iterdir():
        image.unlink()
    message = fails(cfg, DatasetError)
    assert 'data set BaseSegDataset is empty' in message
    assert "'data/photographs/img_dir/train'" in message


def test_missing_data_folder(cfg):
    cfg.train_dataloader.dataset.data_root = 'data/elsewhere'
    assert 'data/elsewhere/img_dir/train' in fails(cfg, FileNotFoundError)
