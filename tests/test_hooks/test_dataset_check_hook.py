"""Data are looked at before training and testing, inside whatever wraps them."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List, Optional, Sequence

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.structures import PixelData
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.hooks import DatasetCheckHook
from picture_files import CLASSES, LOAD
from picture_files import dataset_config as config_of
from trees import write_pair

PACK = dict(type='PackSegInputs')
LABELS = (np.arange(48).reshape(6, 8) % 3).astype(np.uint8)


def dataset_config(root: Path, **options: Any) -> dict:
    """With a pipeline that packs what it has loaded."""
    return config_of(root, **dict(dict(pipeline=[*LOAD, PACK]), **options))


def build(root: Path, **options: Any) -> Any:
    return DATASETS.build(dataset_config(root, **options))


def with_label(value: int) -> np.ndarray:
    """Two pixels of it."""
    labels = LABELS.copy()
    labels[2, 3:5] = value
    return labels


def write_tree(root: Path, labels: Sequence[np.ndarray]) -> Path:
    picture = np.random.default_rng(0).integers(0, 255, (*LABELS.shape, 3), np.uint8)
    for index, label_map in enumerate(labels):
        write_pair(root, f'img/{index:02d}.png', f'ann/{index:02d}.png', picture, label_map)
    return root


class Model(nn.Module):
    """All that the hook asks of a model."""

    def __init__(self, class_names: Sequence[str] = CLASSES) -> None:
        super().__init__()
        self.decode_head = nn.Identity()
        self.decode_head.num_classes = len(class_names)
        self.decode_head.ignore_index = 255
        self.decode_head.class_names = class_names


class Wrapper(nn.Module):
    """Keeps the model where SegTTAModel does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module = model


def runner_of(
    train: Any = None, val: Any = None, test: Any = None, model: Optional[nn.Module] = None
) -> SimpleNamespace:
    """A runner that notes what is logged."""
    logged: List[str] = []
    return SimpleNamespace(
        cfg=Config(),
        model=model or Model(),
        train_dataloader=SimpleNamespace(dataset=train),
        val_loop=None if val is None else object(),
        val_dataloader=SimpleNamespace(dataset=val),
        test_dataloader=SimpleNamespace(dataset=test),
        logger=SimpleNamespace(info=logged.append),
        logged=logged,
    )


def batch_of(*labels: np.ndarray) -> dict:
    """What the data loader hands to the model."""
    samples = []
    for index, label_map in enumerate(labels):
        sample = SegDataSample(metainfo=dict(seg_map_path=f'ann/{index:02d}.png'))
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(label_map)[None])
        samples.append(sample)
    return dict(inputs=[], data_samples=samples)


@pytest.fixture
def good(tmp_path):
    return write_tree(tmp_path, [LABELS, with_label(255), LABELS])


def test_training_and_validation_are_checked(good):
    runner = runner_of(train=build(good), val=build(good, indices=2))
    DatasetCheckHook().before_train(runner)
    assert runner.logged == [
        'Checked 3 of 3 training samples',
        'training data: 255 is 1.39 % of the pixels and therefore ignored',
        'Checked 2 of 2 validation samples',
        'validation data: 255 is 2.08 % of the pixels and therefore ignored',
    ]


def test_training_without_validation(good):
    runner = runner_of(train=build(good))
    DatasetCheckHook(max_samples=2).before_train(runner)
    assert runner.logged[:1] == ['Checked 2 of 3 training samples']


def test_testing(good):
    runner = runner_of(test=build(good))
    DatasetCheckHook().before_test(runner)
    assert runner.logged[:1] == ['Checked 3 of 3 test samples']


@pytest.mark.parametrize('name', ['train', 'val', 'test'])
def test_mistakes_name_the_data_set(good, name):
    other = build(good, classes=('cat', 'dog'))
    runner = runner_of(**dict(dict(train=build(good)), **{name: other}))
    word = dict(train='training', val='validation', test='test')[name]
    hook = DatasetCheckHook()
    with pytest.raises(DatasetError, match=f'the {word} data set BaseSegDataset has 2 classes'):
        (hook.before_test if name == 'test' else hook.before_train)(runner)


@pytest.mark.parametrize('wrap', [nn.DataParallel, Wrapper])
def test_wrapped_models(good, wrap):
    runner = runner_of(test=build(good), model=wrap(Model()))
    DatasetCheckHook().before_test(runner)
    assert runner.logged[:1] == ['Checked 3 of 3 test samples']


def test_data_sets_inside_wrappers(good):
    repeated = dict(type='RepeatDataset', dataset=dataset_config(good), times=4)
    joined = dict(type='ConcatDataset', datasets=[repeated, dataset_config(good, indices=1)])
    runner = runner_of(train=DATASETS.build(joined))
    DatasetCheckHook().before_train(runner)
    assert runner.logged[:2] == [
        'Checked 3 of 3 training samples',
        'Checked 1 of 1 training samples',
    ]


def test_data_sets_that_are_mixed(good):
    flip = dict(type='RandomFlip', prob=0.5)
    inner = dataset_config(good, pipeline=LOAD)
    mixed = dict(type='MultiImageMixDataset', dataset=inner, pipeline=[flip, PACK])
    runner = runner_of(train=DATASETS.build(mixed))
    DatasetCheckHook().before_train(runner)
    assert runner.logged[:1] == ['Checked 3 of 3 training samples']


def test_files_inside_wrappers(good, tmp_path):
    bad = dataset_config(write_tree(tmp_path / 'bad', [with_label(7)]))
    joined = DATASETS.build(dict(type='ConcatDataset', datasets=[dataset_config(good), bad]))
    with pytest.raises(DatasetError, match=r"bad/ann/00\.png'.*found \[7\]"):
        DatasetCheckHook().before_train(runner_of(train=joined))


def test_classes_inside_wrappers(good):
    dataset = dataset_config(good, classes=('cat', 'dog'))
    repeated = DATASETS.build(dict(type='RepeatDataset', dataset=dataset, times=2))
    with pytest.raises(DatasetError, match='has 2 classes, but there are 3'):
        DatasetCheckHook().before_train(runner_of(train=repeated))


def test_each_batch_is_checked(good):
    """Of what was not read before, or what the pipeline has made of it."""
    hook, runner = DatasetCheckHook(), runner_of(train=build(good))
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, batch_of(LABELS, with_label(255)))
    with pytest.raises(DatasetError, match=r"'ann/01\.png'.*0 to 2 .*found \[5\] in 2 pixels"):
        hook.before_train_iter(runner, 1, batch_of(LABELS, with_label(5)))


def test_samples_of_the_shipped_pipeline(good):
    hook, runner = DatasetCheckHook(), runner_of(train=build(good))
    hook.before_train(runner)
    packed = build(good)[1]
    hook.before_train_iter(runner, 0, dict(data_samples=[packed['data_samples']]))


def test_samples_that_do_not_know_their_file():
    batch = batch_of(with_label(5))
    batch['data_samples'][0].set_metainfo(dict(seg_map_path=None))
    del batch['data_samples'][0].seg_map_path
    with pytest.raises(DatasetError, match=r'found \[5\] in 2 pixels'):
        DatasetCheckHook().before_train_iter(runner_of(), 0, batch)


def test_a_batch_without_label_maps(good):
    hook, batch = DatasetCheckHook(), batch_of(LABELS)
    del batch['data_samples'][0].gt_sem_seg
    batch['data_samples'][0].set_metainfo(dict(img_path='img/00.png'))
    message = r"image 'img/00\.png': expected a label map to train with.*LoadAnnotations"
    with pytest.raises(DatasetError, match=message):
        hook.before_train_iter(runner_of(), 0, batch)


@pytest.mark.parametrize('name', ['train', 'val', 'test'])
def test_all_is_ignored(tmp_path, name):
    """As by reduce_zero_label=True where only 0 is labelled."""
    zeros = write_tree(tmp_path, [LABELS * 0] * 2)
    data = {'train': build(zeros), name: build(zeros, reduce_zero_label=True)}
    hook = DatasetCheckHook()
    with pytest.raises(DatasetError, match='all 2 label maps have only ignored.*reduce_zero_label'):
        (hook.before_test if name == 'test' else hook.before_train)(runner_of(**data))


@pytest.fixture
def warned(monkeypatch):
    """What is logged as a warning."""
    lines: List[str] = []

    def note(line: str, logger: str, level: int) -> None:
        assert (logger, level) == ('current', logging.WARNING)
        lines.append(line)

    monkeypatch.setattr('mmseg_ssprompt.hooks.dataset_check_hook.print_log', note)
    return lines


def test_nothing_to_warn_of(good, warned):
    DatasetCheckHook().before_train(runner_of(train=build(good)))
    assert warned == []


def test_warnings_come_once_with_their_count(tmp_path, warned):
    """Over all data sets of a split."""
    two = write_tree(tmp_path / 'a', [LABELS % 2, np.full_like(LABELS, 255)])
    one = write_tree(tmp_path / 'b', [np.full_like(LABELS, 255)])
    joined = dict(type='ConcatDataset', datasets=[dataset_config(two), dataset_config(one)])
    DatasetCheckHook().before_train(runner_of(train=DATASETS.build(joined)))
    first = str(two / 'img' / '01.png')
    assert warned == [
        f'training data: 2 of 3 images have only ignored pixels; the first is {first!r}',
        "training data: 1 of 3 classes are in none of 3 label maps: ['sky']",
    ]


def test_a_jpeg_that_is_cut_off(good):
    file = good / 'img' / '01.png'
    file.write_bytes(cv2.imencode('.jpg', np.zeros((6, 8, 3), np.uint8))[1].tobytes()[:-2])
    with pytest.raises(DatasetError, match=r"image '.*01\.png': expected a whole JPEG file"):
        DatasetCheckHook().before_train(runner_of(train=build(good)))


def test_errors_reach_the_other_processes(good, monkeypatch):
    """They end too, instead of waiting for the first until they give up."""
    error = DatasetError('found by the first process')

    def receive(message: list) -> None:
        message[:] = [error]

    module = 'mmseg_ssprompt.main_process'
    monkeypatch.setattr(f'{module}.is_main_process', lambda: False)
    monkeypatch.setattr(f'{module}.broadcast_object_list', receive)
    with pytest.raises(DatasetError, match='found by the first process'):
        DatasetCheckHook().before_train(runner_of(train=build(good)))


def test_built_from_config():
    assert HOOKS.build(dict(type='DatasetCheckHook')).max_samples == 1000
    assert HOOKS.build(dict(type='DatasetCheckHook', max_samples=5)).max_samples == 5
