"""ACDC as it is released: which images, in which order, and what is refused."""

import shutil

import pytest
from mmseg.datasets import CityscapesDataset
from mmseg.registry import DATASETS

from mmseg_ssprompt.datasets import ACDCDataset, DatasetError
from mmseg_ssprompt.datasets.acdc import ACDC_CONDITIONS
from trees import make_acdc_tree


@pytest.fixture
def root(tmp_path) -> str:
    make_acdc_tree(tmp_path)
    return str(tmp_path)


def conditions_of(dataset) -> list:
    return [dataset.get_data_info(i)['img_path'].split('/')[-4] for i in range(len(dataset))]


def test_all_conditions(root):
    dataset = DATASETS.build(dict(type='ACDCDataset', data_root=root))
    assert conditions_of(dataset) == sorted(2 * ACDC_CONDITIONS)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert paths == sorted(paths)


def test_label_maps_are_those_of_the_images(root):
    record = ACDCDataset(data_root=root, conditions=['rain'], split='val').get_data_info(0)
    frame = 'rain/val/GOPR0475/GOPR0475_frame_000040'
    assert record['img_path'] == f'{root}/rgb_anon/{frame}_rgb_anon.png'
    assert record['seg_map_path'] == f'{root}/gt/{frame}_gt_labelTrainIds.png'


@pytest.mark.parametrize('conditions', [['night'], ['snow', 'fog'], ('rain', 'rain')])
def test_some_conditions(root, conditions):
    dataset = ACDCDataset(data_root=root, conditions=conditions, split='val')
    assert conditions_of(dataset) == sorted(set(conditions))


def test_classes_are_those_of_cityscapes(root):
    metainfo = ACDCDataset(data_root=root).metainfo
    assert metainfo['classes'] == CityscapesDataset.METAINFO['classes']
    assert metainfo['palette'] == CityscapesDataset.METAINFO['palette']


@pytest.mark.parametrize('slash', ['', '/'])
def test_folders_can_be_named_in_mmseg_s_way(root, slash):
    prefix = dict(img_path=f'rgb_anon{slash}', seg_map_path=f'gt{slash}')
    assert len(ACDCDataset(data_root=f'{root}{slash}', data_prefix=prefix)) == 8


def test_test_split_has_images_only(root):
    dataset = ACDCDataset(data_root=root, split='test', data_prefix=dict(img_path='rgb_anon'))
    assert len(dataset) == 4
    assert 'seg_map_path' not in dataset.get_data_info(0)


@pytest.mark.parametrize('conditions', [['fog', 'hail'], [], 'fog'])
def test_unknown_conditions(root, conditions):
    expected = r"some of \['fog', 'night', 'rain', 'snow'\], got "
    with pytest.raises(ValueError, match=expected):
        ACDCDataset(data_root=root, conditions=conditions)


def test_unknown_split(root):
    message = r"unknown split 'training': expected one of \['train', 'val', 'test'\]"
    with pytest.raises(ValueError, match=message):
        ACDCDataset(data_root=root, split='training')


def test_condition_without_images(root):
    shutil.rmtree(f'{root}/rgb_anon/night')
    with pytest.raises(DatasetError, match=r"found none in \['night/train'\]"):
        ACDCDataset(data_root=root)
    assert len(ACDCDataset(data_root=root, conditions=['fog'])) == 2
