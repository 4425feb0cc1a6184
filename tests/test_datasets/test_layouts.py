"""The paper's data sets in mmseg's layouts: each config reads a tree of its own.

The trees are made where the config looks for them, so its own paths are what is tested.
"""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

from mmseg_ssprompt.models.prompts.spatial import point_grid
from mmseg_ssprompt.readable_names import readable_class_names
from trees import VOID, make_acdc_tree, make_tree

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# Images for training and validation, classes, and the ids of a label map as it is trained on.
CITYSCAPES_IDS = {*range(19), VOID}
LAYOUTS = {
    'cityscapes': (2, 1, 19, CITYSCAPES_IDS),
    'bdd100k': (2, 1, 19, CITYSCAPES_IDS),
    'mapillary': (2, 1, 65, {*range(65), VOID}),  # "Unlabeled" is void
    'pascal_context': (2, 1, 60, {*range(60)}),  # background is a class
    'pascal_context-59': (2, 1, 59, {*range(59), VOID}),  # background is void
    'acdc': (8, 4, 19, CITYSCAPES_IDS),
    'acdc_fog': (2, 1, 19, CITYSCAPES_IDS),
    'acdc_night': (2, 1, 19, CITYSCAPES_IDS),
    'acdc_rain': (2, 1, 19, CITYSCAPES_IDS),
    'acdc_snow': (2, 1, 19, CITYSCAPES_IDS),
}


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'ssprompt_sam_{name}.py')


@pytest.fixture(params=LAYOUTS)
def name(request) -> str:
    """Of a configuration."""
    return request.param


@pytest.fixture
def config(name, tmp_path, monkeypatch) -> Config:
    """The configuration, in a folder where its data are."""
    config = load(name)
    assert not Path(config.data_root).is_absolute()
    monkeypatch.chdir(tmp_path)
    make_tree(tmp_path, config.data_root)
    return config


def test_number_of_images(config, name):
    train, val, test = (
        DATASETS.build(config[f'{split}_dataloader'].dataset) for split in ('train', 'val', 'test')
    )
    assert (len(train), len(val), len(test)) == (*LAYOUTS[name][:2], LAYOUTS[name][1])
    assert [d['img_path'] for d in val.load_data_list()] == [
        d['img_path'] for d in test.load_data_list()
    ]


@pytest.mark.parametrize('split', ['train', 'val'])
def test_label_ids(config, name, split):
    dataset = DATASETS.build(config[f'{split}_dataloader'].dataset)
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        labels = sample.gt_sem_seg.data.numpy()
        assert set(np.unique(labels)) == LAYOUTS[name][3]
        full = sample.img_shape if split == 'train' else sample.ori_shape
        assert labels.shape == (1, *full)


def test_longest_side_is_1024(config):
    for split in ('train', 'val'):
        inputs = DATASETS.build(config[f'{split}_dataloader'].dataset)[0]['inputs']
        assert max(inputs.shape[1:]) == 1024


def test_classes(config, name):
    dataset = DATASETS.build(config.train_dataloader.dataset)
    classes = dataset.metainfo['classes']
    own = DATASETS.get(config.train_dataloader.dataset.type).METAINFO
    assert list(classes) == list(own['classes'])[: len(classes)]
    assert dataset.metainfo['palette'] == own['palette'][: len(classes)]
    assert config.model.decode_head.num_classes == len(classes) == LAYOUTS[name][2]
    assert len(own['classes']) - len(classes) == (name == 'mapillary')


def test_one_prompt_per_class(config):
    prompts = config.model.decode_head.semantic_prompts
    assert prompts.dataset == config.train_dataloader.dataset.type
    names = readable_class_names(prompts.dataset, prompts.get('classes'))
    assert len(names) == config.model.decode_head.num_classes


def test_points_lie_on_the_image(config):
    """Where all images have one aspect ratio; elsewhere the grid covers the whole frame."""
    extent = config.model.decode_head.spatial_prompts.get('extent')
    inputs = DATASETS.build(config.train_dataloader.dataset)[0]['inputs']
    height, width = inputs.shape[1:]
    if extent is None:
        assert 'mapillary' in config.filename or 'pascal_context' in config.filename
    else:
        assert extent == (width / 1024, height / 1024)
        points = 1024 * point_grid(100, extent)
        assert (points < points.new_tensor([width, height])).all()


@pytest.mark.parametrize('condition', ['fog', 'night', 'rain', 'snow'])
def test_one_condition_of_acdc(condition, tmp_path, monkeypatch):
    config = load(f'acdc_{condition}')
    monkeypatch.chdir(tmp_path)
    make_acdc_tree(tmp_path / config.data_root)
    for split in ('train', 'val', 'test'):
        for record in DATASETS.build(config[f'{split}_dataloader'].dataset).load_data_list():
            assert f'/{condition}/' in record['img_path']
            assert f'/{condition}/' in record['seg_map_path']
