"""K12: predictions of pictures that have no label maps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from PIL import Image

from mmseg_ssprompt.datasets import DatasetError, LoadLabelMap
from mmseg_ssprompt.datasets.label_maps import allow_unlabelled, replace_loaders
from mmseg_ssprompt.evaluation import GroupedIoUMetric
from own_photographs import make_photographs, own_config


def make_cfg(root: Path, **dataset: Any) -> Any:
    cfg = own_config(root, img_suffix='.png')
    for setting in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg[setting] = None
    for setting in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[setting] = None
    cfg.test_dataloader.dataset.update(dataset)
    cfg.test_evaluator.output_dir = str(root / 'out')
    return cfg


@pytest.mark.parametrize('prefix', ['without', 'none', 'folder that is not there'])
def test_no_picture_has_a_label_map(tmp_path, prefix, capsys):
    make_photographs(tmp_path, count=2, labels=None)
    prefixes = {
        'without': dict(img_path='img'),
        'none': dict(img_path='img', seg_map_path=None),
        'folder that is not there': dict(img_path='img', seg_map_path='ann'),
    }
    cfg = make_cfg(tmp_path)
    cfg.test_dataloader.dataset.data_prefix = prefixes[prefix]
    allow_unlabelled(cfg.test_dataloader.dataset)
    assert Runner.from_cfg(cfg).test() == {}
    files = sorted(file.name for file in (tmp_path / 'out').rglob('*.png'))
    assert files == ['0.png', '1.png']
    written = np.asarray(Image.open(next((tmp_path / 'out').rglob('0.png'))))
    assert written.shape == (48, 64)
    assert (
        'None of 2 images is compared with a label map: nothing is measured'
        in capsys.readouterr().out
    )


def test_some_pictures_have_label_maps(tmp_path, capsys):
    make_photographs(tmp_path, count=3)
    (tmp_path / 'ann' / '1.png').unlink()
    cfg = make_cfg(tmp_path)
    allow_unlabelled(cfg.test_dataloader.dataset)
    metrics = Runner.from_cfg(cfg).test()
    assert 'mIoU' in metrics
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 3
    assert '1 of 3 images have no label map, and are not in the figures' in (
        capsys.readouterr().out
    )


def process(metric: GroupedIoUMetric, **sample: Any) -> None:
    metric.dataset_meta = dict(classes=('a', 'b'))
    predicted = dict(data=torch.tensor([[[0, 1]]]))
    metric.process({}, [dict(sample, pred_sem_seg=predicted, img_path='a.png')])


def test_figures_are_those_of_labelled_pictures():
    metric = GroupedIoUMetric()
    process(metric)
    process(metric, gt_sem_seg=dict(data=torch.tensor([[[0, 0]]])))
    metrics = metric.evaluate(2)
    assert metrics['IoU.a'] == pytest.approx(50)
    assert metrics['IoU.b'] == 0


@pytest.mark.filterwarnings('error')
def test_format_only_writes_and_measures_nothing(tmp_path):
    metric = GroupedIoUMetric(format_only=True, output_dir=str(tmp_path))
    process(metric)
    assert metric.evaluate(1) == {}
    assert np.asarray(Image.open(tmp_path / 'a.png')).tolist() == [[0, 1]]


def test_loaders_of_all_pipelines_are_replaced():
    tta = [
        dict(type='LoadImageFromFile'),
        dict(
            type='TestTimeAug',
            transforms=[[dict(type='mmseg.LoadAnnotations', imdecode_backend='cv2')]],
        ),
    ]
    replaced = replace_loaders(tta, allow_missing=True)
    expected = dict(type='LoadLabelMap', imdecode_backend='cv2', allow_missing=True)
    assert replaced[1]['transforms'] == [[expected]]
    assert replaced[0] == tta[0]
    assert tta[1]['transforms'][0][0]['type'] == 'mmseg.LoadAnnotations'


def test_a_missing_label_map_is_an_error_where_it_is_needed(tmp_path):
    loader = LoadLabelMap()
    with pytest.raises(DatasetError, match="image 'a.png': expected the path of a label map"):
        loader(dict(img_path='a.png'))
    with pytest.raises(FileNotFoundError):
        loader(dict(img_path='a.png', seg_map_path=str(tmp_path / 'a.png')))


def test_a_damaged_label_map_is_no_missing_one(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no picture')
    with pytest.raises(Exception, match='cannot identify image'):
        LoadLabelMap(allow_missing=True)(dict(seg_map_path=str(tmp_path / 'a.png')))


def test_background_is_a_name_as_any_other(tmp_path):
    make_photographs(tmp_path, count=2)
    cfg = own_config(tmp_path, ('background', 'crack'), img_suffix='.png')
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert list(runner.model.decode_head.class_names) == ['background', 'crack']
