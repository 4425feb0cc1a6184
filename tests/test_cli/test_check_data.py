"""The command reads all samples, lists all that is wrong, and ends with a status that says so."""

import json
from pathlib import Path
from typing import Any, Callable, Tuple

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmseg_ssprompt.cli.parser import run_command
from picture_files import encode
from trees import MMSEG_LAYOUT, make_photograph_tree

ROOT = Path(__file__).resolve().parents[2]
CONFIG = MMSEG_LAYOUT
SIZE = (36, 48)


@pytest.fixture
def check(capsys) -> Callable[..., Tuple[str, str]]:
    """Run the command in this process; return what it prints, and its progress or its error."""

    def run(*arguments: Any, status: int) -> Tuple[str, str]:
        found = run_command(['check-data', *map(str, arguments)])
        printed, said = capsys.readouterr()
        assert found == status, printed[-3000:] + said
        return printed, said

    return run


@pytest.fixture
def data(tmp_path, monkeypatch):
    """CamVid with 12 random images in each split."""
    monkeypatch.chdir(tmp_path)
    make_photograph_tree(tmp_path / 'data' / 'photographs', num_images=12)
    return tmp_path / 'data' / 'photographs'


def test_good_data(data, tmp_path, check):
    """There is no model to build, so missing weights do not matter."""
    options = ['--cfg-options', 'model.backbone.checkpoint=missing.pth']
    printed, progress = check(CONFIG, *options, status=0)
    assert printed.endswith('test: the same as val\n0 errors, 0 warnings\n')
    for split in ('train', 'val'):
        line = f'{split}: 12 samples were read\n  255 is '
        assert printed.count(line) == 1 and '% of the pixels and therefore ignored' in printed
    assert 'WARNING' not in printed.split('train: 12')[1]
    assert '12/12' in progress


def test_all_that_is_wrong_is_listed(data, tmp_path, check):
    images, labels = data / 'img_dir' / 'train', data / 'ann_dir' / 'train'
    jpeg = encode(np.zeros((*SIZE, 3), np.uint8), 'JPEG')
    (images / '0.png').write_bytes(jpeg[:-5])
    (images / '1.png').write_bytes(b'')
    (images / '2.png').write_bytes(encode(np.zeros((30, 40, 3), np.uint8), 'PNG'))
    cv2.imwrite(str(images / '3.png'), np.zeros((*SIZE, 4), np.uint8))
    (labels / '4.png').write_bytes(encode(np.full(SIZE, 300, np.uint16), 'PNG'))
    (labels / '5.png').unlink()
    (labels / '6.png').write_bytes(encode(np.full(SIZE, 255, np.uint8), 'PNG'))
    for index in range(12):  # CamVid's void
        cv2.imwrite(str(data / 'ann_dir' / 'val' / f'{index}.png'), np.full(SIZE, 11, np.uint8))
    (data / 'img_dir' / 'val' / '7.png').write_bytes((images / '7.png').read_bytes())
    printed, _ = check(CONFIG, '--json', 'out/report.json', status=1)

    for line in (
        'train: 12 samples were read',
        "image 'data/photographs/img_dir/train/0.png': expected a whole JPEG file",
        "cannot read image 'data/photographs/img_dir/train/1.png'",
        "'data/photographs/ann_dir/train/2.png' has 36 x 48 pixels, but its image",
        "train/4.png': expected numbers from 0 to 255, found [300]. For more than 255 classes",
        "cannot read label map 'data/photographs/ann_dir/train/5.png'",
        '1 of 12 images have only ignored pixels',
        'ERROR, label maps: 12',
        "'data/photographs/ann_dir/val/0.png': expected ids from 0 to 10",
        '... and 2 more',
        '1 images are training images too',
        '2 of 12 images are nearly black',
        '17 errors, 3 warnings',
    ):
        assert line in printed
    report = json.loads((tmp_path / 'out' / 'report.json').read_text())
    assert (report['num_errors'], report['num_warnings']) == (17, 3)
    train, val = report['splits']['train'], report['splits']['val']
    counts = {kind: listing['count'] for kind, listing in train['errors'].items()}
    assert counts == {'images': 2, 'label maps': 3}
    assert len(val['errors']['label maps']['listed']) == 12
    (pair,) = report['shared_with_training']['val']['listed']
    assert pair == "'data/photographs/img_dir/train/7.png' = 'data/photographs/img_dir/val/7.png'"


def test_data_sets_that_cannot_be_built(data, tmp_path, check):
    """Of wrappers all that is inside; the one error does not hide the others."""
    cfg = Config.fromfile(CONFIG)
    good = cfg.train_dataloader.dataset
    few = dict(type='FewShotDataset', dataset=good, manifest='draw.json')
    other = dict(good, metainfo=dict(classes=['sky', 'road']))
    joined = [few, other, dict(good, data_root='elsewhere')]
    inner = dict(type='ConcatDataset', datasets=joined)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    cfg.val_dataloader = None
    config = tmp_path / 'config.py'
    cfg.dump(config)
    printed, _ = check(config, status=1)
    assert 'train: 12 samples were read' in printed
    assert 'ERROR, data set: 2' in printed
    assert 'has 2 classes, but there are 11 semantic prompts' in printed
    assert 'elsewhere/img_dir/train' in printed
    assert 'val:' not in printed
    assert 'test: 12 samples were read' in printed
    assert not (tmp_path / 'draw.json').exists()


def test_configs_whose_classes_do_not_agree(data, tmp_path, check):
    options = ['--cfg-options', 'model.decode_head.num_classes=12']
    _, error = check(CONFIG, *options, status=1)
    assert 'decode_head.num_classes is 12, but there are 11 class names' in error


def test_what_training_would_find(data, tmp_path, check):
    """The config, what leaves pipelines, evaluators, and files that nobody looks at."""
    cfg = Config.fromfile(CONFIG)
    train = cfg.train_dataloader.dataset
    train.pipeline[1], train.pipeline[2] = train.pipeline[2], train.pipeline[1]
    cfg.val_evaluator = [dict(type='GroupedIoUMetric'), dict(type='IoUMetric')]
    (data / 'img_dir' / 'val' / '0.png').rename(data / 'img_dir' / 'val' / '0.PNG')
    config = tmp_path / 'config.py'
    cfg.dump(config)
    printed, _ = check(config, '--json', 'report.json', status=1)
    for line in (
        'config:',
        "ERROR, evaluators: 1\n    val_evaluator[1] returns ['aAcc', 'mAcc', 'mIoU'], which anothe",
        'ERROR, pipeline: 1',
        'Put LoadAnnotations before what changes sizes',
        "1 of 12 images in 'data/photographs/img_dir/val' are left out",
        '2 errors, 1 warnings',
    ):
        assert line in printed
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['settings']['errors']['evaluators']['count'] == 1


def test_parts_of_a_config_that_disagree(data, tmp_path, check):
    options = ['--cfg-options', 'val_dataloader.dataset.reduce_zero_label=True']
    options += ['model.data_preprocessor.seg_pad_val=0']
    printed, _ = check(CONFIG, *options, status=1)
    assert 'ERROR, settings: 1\n    the config contradicts itself' in printed
    assert 'model.data_preprocessor.seg_pad_val is 0' in printed
    assert 'val_dataloader.dataset.reduce_zero_label is True' in printed
