"""The configs of fit can be read, and say what was asked for."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

from fit_trees import CLASSES, make_photographs
from mmseg_ssprompt.fitting.bases import BASES, find_base
from mmseg_ssprompt.fitting.config_text import Schedule, config_text, make_schedule
from mmseg_ssprompt.fitting.photographs import find_photographs

SCHEDULE = Schedule(300, 300, 30, 4)
LISTS = dict(train='train', val=None, test='test')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = make_photographs(tmp_path_factory.mktemp("it's {{here}}"), 6)
    return find_photographs(root / 'photos', root / 'labels', classes=CLASSES, out=root / 'out')


def read(tmp_path, data, base='sam-tiny', arm='ssprompt', weights=None, lists=LISTS, **changes):
    arguments = (weights or {}, arm, changes.get('schedule', SCHEDULE), 0.01, 7, lists, 4)
    text = config_text(tmp_path / 'config.py', data, find_base(base), *arguments)
    file = Path(tmp_path, 'config.py')
    file.write_text(text)
    assert len(text.splitlines()) < 100
    return Config.fromfile(file), text


@pytest.mark.parametrize('base', BASES)
def test_every_base_and_arm(tmp_path, data, base):
    weights = {entry: f'/files/{name}' for entry, name in BASES[base].weights.items()}
    for arm in (None, *BASES[base].arms):
        cfg, _ = read(tmp_path, data, base, arm, weights)
        head = cfg.model.decode_head
        assert head.num_classes == 3 and tuple(head.semantic_prompts.class_names) == CLASSES
        if weights:
            assert cfg.model.weights == weights
        dataset = cfg.test_dataloader.dataset
        encoder = cfg.model.backbone.encoder
        assert cfg.model.backbone.type == 'PrecomputedFeatures' and dataset.encoder == encoder
        variant = BASES[base].variant or encoder.variant
        assert encoder.variant == head.segmenter.variant == variant
        if BASES[base].kind == 'seem':
            assert head.semantic_prompts.text_encoder.variant == variant
        modes = {head[f'{each}_prompts'].fusion.mode for each in ('spatial', 'semantic')}
        trains = arm not in (None, 'projection')
        assert modes == {'learned_weight' if trains else 'default_only'}
        assert bool(head.segmenter.get('remember_bytes')) == (
            not trains and BASES[base].kind == 'sam'
        )
        if arm is not None and 'projection' in arm:
            assert head.classifier.trainable is True


def test_settings_of_training(tmp_path, data):
    cfg, text = read(tmp_path, data)
    assert text.startswith('# SSPrompt on sam-tiny, of embedded photographs')
    assert f'tools/train.py {tmp_path / "config.py"}' in text
    assert cfg.optim_wrapper.optimizer.lr == 0.01
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (300, 30)
    assert [each.end for each in cfg.param_scheduler] == [15, 300]
    assert cfg.custom_hooks[0].monitor == 'mIoU' and cfg.custom_hooks[0].patience == 4
    assert cfg.default_hooks.checkpoint.interval == 30
    assert cfg.randomness.seed == 7
    assert cfg.val_dataloader is None and cfg.val_evaluator is None and cfg.val_cfg is None
    train, test = cfg.train_dataloader, cfg.test_dataloader
    assert train.dataset.resize_labels and 'resize_labels' not in test.dataset
    assert (train.batch_size, test.batch_size) == (4, 1)
    assert train.dataset.names == str(data.list_file('train'))
    source = DATASETS.build(dict(train.dataset.dataset))
    assert len(source) == 6 and source.metainfo['classes'] == CLASSES


def test_prompts_lie_on_the_pictures(tmp_path, data):
    extent = read(tmp_path, data)[0].model.decode_head.spatial_prompts.extent
    assert extent == (1.0, round(20 / 28, 4))


def test_single_images_are_at_most_600_steps():
    short, schedule = make_schedule(1, False)
    assert 3 * short.max_iters + schedule.max_iters <= 600
    assert schedule.patience and schedule.max_iters % schedule.interval == 0
    short, schedule = make_schedule(1, True)
    assert 3 * short.max_iters + 4 * schedule.max_iters <= 600
    assert schedule.patience is None  # the folds are compared at the same iterations
