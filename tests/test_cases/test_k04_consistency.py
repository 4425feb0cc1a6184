"""What a config says in several places is compared before anything long begins."""

from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.hooks.config_checks import check_config, read_model_facts
from own_photographs import CONFIGS, NAMES, own_config

TRAIN = 'train_dataloader.dataset'


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@pytest.fixture
def cfg(tmp_path) -> Config:
    return own_config(tmp_path)


def fails(cfg: Config, *splits: str) -> str:
    with pytest.raises(DatasetError) as raised:
        check_config(cfg, splits or ('train', 'val', 'test'))
    return str(raised.value)


def change(cfg: Config, **settings: Any) -> Config:
    """Set dotted keys, whose dots are written as two underscores."""
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in settings.items()})
    return cfg


def test_a_config_that_agrees(cfg):
    check_config(cfg)
    facts = read_model_facts(cfg)
    assert facts.class_names == NAMES
    assert (facts.ids.num_classes, facts.ids.ignore_index) == (2, 255)


@pytest.mark.parametrize(
    'file',
    [
        *sorted(path.name for path in CONFIGS.glob('*.py') if 'pascal' not in path.name),
        *sorted(f'ablations/{path.name}' for path in (CONFIGS / 'ablations').glob('*.py')),
    ],
)
def test_all_shipped_configs_agree(file):
    """Those of Pascal Context ask for their files as soon as they are built."""
    check_config(Config.fromfile(CONFIGS / file))


# Classes


def test_groups_that_are_left_over(cfg):
    """CamVid's classes are replaced, and its things are left."""
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo = dict(
            classes=NAMES, thing_classes=('pole', 'crack')
        )
    message = fails(cfg)
    assert f"{TRAIN}.metainfo.thing_classes names ['pole'], which are none of its" in message
    assert 'val_dataloader.dataset.metainfo.thing_classes' in message
    assert '_delete_=True' in message


def test_colours_that_are_left_over(cfg):
    cfg.train_dataloader.dataset.metainfo.palette = [[0, 0, 0]] * 11
    message = fails(cfg)
    assert f'{TRAIN}: BaseSegDataset with data_root=' in message
    assert 'palette does not match classes' in message


def test_classes_in_a_file(cfg, tmp_path):
    """Which mmengine reads, one name a line."""
    (tmp_path / 'classes.txt').write_text('\n'.join(NAMES))
    cfg.train_dataloader.dataset.metainfo.classes = str(tmp_path / 'classes.txt')
    check_config(cfg)


def test_classes_of_ones_own_for_a_data_set_that_has_some(cfg):
    cfg.train_dataloader.dataset.type = 'CityscapesDataset'
    message = fails(cfg)
    assert f'{TRAIN}: CityscapesDataset with data_root=' in message
    assert "new classes ('background', 'crack') is not a subset of classes ('road'" in message


def test_another_number_of_prompts(cfg):
    cfg.train_dataloader.dataset.metainfo.classes = (*NAMES, 'sky')
    message = fails(cfg)
    assert 'training data set BaseSegDataset has 3 classes, but there are 2 semantic' in message
    assert f'data set ({TRAIN})' in message


def test_data_sets_that_number_classes_differently(cfg):
    """Prompts may be worded differently, so that it cannot be seen from them."""
    change(cfg, model__decode_head__semantic_prompts__class_names=('a wall', 'a crack in it'))
    cfg.val_dataloader.dataset.metainfo.classes = NAMES[::-1]
    message = fails(cfg)
    assert f'{TRAIN} and val_dataloader.dataset number the same classes differently' in message
    assert "['crack', 'background']" in message


def test_a_number_of_classes_that_does_not_fit_their_names(cfg):
    message = fails(change(cfg, model__decode_head__num_classes=3))
    assert 'decode_head.num_classes is 3, but there are 2 class names' in message


def test_one_class_without_the_rest(cfg):
    """As the model says it, also where no model is built."""
    head = dict(num_classes=1, semantic_prompts=dict(class_names=('crack',)))
    cfg.merge_from_dict(dict(model=dict(decode_head=head)))
    assert 'decode_head.rest_id=0' in fails(cfg)


# Ignored pixels


def test_a_number_that_is_ignored_here_and_counts_there(cfg):
    message = fails(change(cfg, model__data_preprocessor__seg_pad_val=0))
    assert 'model.data_preprocessor.seg_pad_val is 0, but model.decode_head.ignore_index' in message
    assert 'is 255. Give both the same' in message


def test_class_0_cannot_be_ignored(cfg):
    message = fails(change(cfg, model__decode_head__ignore_index=0))
    assert 'decode_head.ignore_index is 0, which label maps also use for a class' in message


def test_padding_in_a_pipeline(cfg):
    pad = dict(type='Pad', size=(96, 96), pad_val=dict(img=0, seg=0))
    cfg.train_dataloader.dataset.pipeline.insert(-1, pad)
    message = fails(cfg)
    assert f'{TRAIN}: the training data set BaseSegDataset' in message
    assert 'Pad' in message


def test_zero_that_is_void_in_training_only(cfg):
    cfg.train_dataloader.dataset.reduce_zero_label = True
    message = fails(cfg, 'train', 'val')
    assert f'{TRAIN}.reduce_zero_label is True, but val_dataloader.dataset.reduce' in message


# What cannot be built


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (dict(pipeline=[dict(type='LoadImageFromFiles')]), 'LoadImageFromFiles is not in the'),
        (
            dict(pipeline=[dict(type='RandomFlip', probe=0.5)]),
            "unexpected keyword argument 'probe'",
        ),
        (
            dict(pipeline=[dict(type='RandomCrop', crop_size=(0, 9))]),
            '(AssertionError: assert crop_size[0] > 0',
        ),
        (dict(type='BaseSegDatset'), 'BaseSegDatset is not in the'),
        (dict(img_sufix='.png'), "unexpected keyword argument 'img_sufix'"),
    ],
)
def test_settings_that_do_not_exist(cfg, settings, expected):
    """mmengine says which; the key is ours, also inside of other data sets."""
    wrong = {**cfg.train_dataloader.dataset.to_dict(), **settings}
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=wrong)
    message = fails(cfg)
    assert message.startswith(f'{TRAIN}: {wrong["type"]} with data_root=')
    assert expected in message


def test_a_folder_of_images_by_another_name(cfg):
    """mmengine would look for images in the current folder."""
    prefix = dict(_delete_=True, image_path='img', seg_map_path='ann')
    cfg.merge_from_dict(dict(train_dataloader=dict(dataset=dict(data_prefix=prefix))))
    expected = f"{TRAIN}.data_prefix: expected img_path='...', the folder of the images, found"
    assert expected in fails(cfg)


def test_data_sets_that_only_assert_their_files(cfg):
    """A cache is read in their place."""
    pascal = dict(type='PascalContextDataset59', data_root='nowhere', ann_file='list.txt')
    cfg.train_dataloader.dataset = pascal
    message = fails(cfg)
    assert f"{TRAIN}: PascalContextDataset59 with data_root='nowhere' cannot be built" in message
    assert '(AssertionError: assert fileio.exists(self.data_prefix' in message
    cached = dict(type='EmbeddedDataset', cache_dir='cache', dataset=pascal)
    cfg.train_dataloader.dataset = cached
    check_config(cfg)


def test_objects_in_place_of_configs_are_left_alone():
    check_config(Config(dict(train_dataloader=dict(dataset=object(), batch_size=2))))
    check_config(Config())
