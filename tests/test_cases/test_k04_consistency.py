"""What a config says in several places is compared before anything long begins."""

from typing import Any, Dict, List

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.hooks.config_checks import check_config, read_model_facts
from own_photographs import CONFIGS, NAMES, make_photographs, own_config

TRAIN = 'train_dataloader.dataset'


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


@pytest.fixture
def cfg(tmp_path) -> Config:
    cfg = own_config(tmp_path)
    cfg.param_scheduler = []  # of 300 iterations
    return cfg


def fails(cfg: Config, *splits: str) -> str:
    with pytest.raises(DatasetError) as raised:
        check_config(cfg, splits or ('train', 'val', 'test'))
    return str(raised.value)


def change(cfg: Config, **settings: Any) -> Config:
    """Set dotted keys, whose dots are written as two underscores."""
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in settings.items()})
    return cfg


def warn(cfg: Config) -> List[str]:
    return check_config(cfg)


def test_a_config_that_agrees(cfg):
    assert check_config(cfg) == []
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
    assert check_config(Config.fromfile(CONFIGS / file)) == []


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
    assert f'{TRAIN}.metainfo.palette has 11 colours' in message
    assert f'{TRAIN}.metainfo.classes has 2 names' in message


@pytest.mark.parametrize('colour', [[0, 0], [0, 0, 300], 'red', [0.5, 0.5, 0.5]])
def test_colours_that_are_none(cfg, colour):
    cfg.val_dataloader.dataset.metainfo.palette = [[0, 0, 0], colour]
    assert 'expected a colour [R, G, B] of whole numbers from 0 to 255' in fails(cfg)


@pytest.mark.parametrize('classes', ['crack', ('a', 1)])
def test_classes_that_are_no_list_of_names(cfg, classes):
    """``('crack')`` is a text, which is a list of letters."""
    cfg.train_dataloader.dataset.metainfo.classes = classes
    assert f'{TRAIN}.metainfo.classes: expected a list of names, found {classes!r}' in fails(cfg)


def test_classes_in_a_file(cfg, tmp_path):
    """Which mmengine reads, one name a line."""
    (tmp_path / 'classes.txt').write_text('\n'.join(NAMES))
    cfg.train_dataloader.dataset.metainfo.classes = str(tmp_path / 'classes.txt')
    assert check_config(cfg) == []
    cfg.train_dataloader.dataset.metainfo = 'classes.txt'
    assert f"{TRAIN}.metainfo: expected dict(classes=[...]), found 'classes.txt'" in fails(cfg)


def own_folder(cfg: Config, **options: Any) -> Config:
    """The data sets of a config as folders, whose ``classes`` replace what is in ``metainfo``."""
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.update(type='ImageFolderDataset', classes=NAMES, **options)
    return cfg


def test_names_in_a_file_are_checked_too(cfg, tmp_path):
    file = tmp_path / 'classes.txt'
    cfg.train_dataloader.dataset.metainfo.classes = str(file)
    assert f'found {str(file)!r}, which is no text file that can be read' in fails(cfg)
    file.write_text('crack\ncrack\n')
    assert "expected each name once, found ['crack'] more than once" in fails(cfg)
    file.write_text('background\n\ncrack\n')
    assert 'expected names, found an empty one at place 2' in fails(cfg)


def test_names_in_metainfo_that_classes_replace(cfg):
    """A base config may have left them, so that they are said and not refused."""
    lines = warn(own_folder(cfg, metainfo=dict(classes=('wall', 'hole'))))
    assert lines == [
        f'{TRAIN}, val_dataloader.dataset, test_dataloader.dataset: '
        "classes=['background', 'crack'] counts, and metainfo.classes=['wall', 'hole'] is left "
        "out. If the latter is meant, set classes=('wall', 'hole')"
    ]
    assert warn(own_folder(cfg, metainfo=dict(classes=list(NAMES)))) == []


def test_names_in_metainfo_that_classes_replace_and_the_model_has(cfg):
    names = ('wall', 'hole')
    change(cfg, model__decode_head__semantic_prompts__class_names=names)
    message = fails(own_folder(cfg, metainfo=dict(classes=names)))
    assert 'is left out, which are the class names of the model. Set classes=' in message


def test_settings_of_folders_are_checked_as_metainfo_is(cfg):
    own_folder(cfg, metainfo=dict(classes=NAMES, palette=[[0, 0, 0]] * 11))
    assert check_config(cfg) == []  # replaced as a whole
    cfg.train_dataloader.dataset.palette = [[0, 0, 0]]
    assert f'{TRAIN}.palette has 1 colours, but {TRAIN}.classes has 2 names' in fails(cfg)
    cfg.train_dataloader.dataset.palette = [[0, 0, 0], [0, 0, 300]]
    assert f'{TRAIN}.palette: expected a colour [R, G, B] of whole numbers' in fails(cfg)
    cfg.train_dataloader.dataset.classes = ('crack', 'crack')
    assert f"{TRAIN}.classes: expected each name once, found ['crack']" in fails(cfg)


def test_a_class_that_is_there_twice(cfg):
    cfg.train_dataloader.dataset.metainfo.classes = ('crack', 'crack')
    assert "expected each name once, found ['crack'] more than once" in fails(cfg)


def test_classes_of_ones_own_for_a_data_set_that_has_some(cfg):
    cfg.train_dataloader.dataset.type = 'CityscapesDataset'
    message = fails(cfg)
    assert f"{TRAIN}.metainfo.classes: ['background', 'crack'] are none of the 19" in message
    assert "type='BaseSegDataset'" in message


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


def test_a_loss_that_is_told_otherwise(cfg):
    message = fails(change(cfg, model__decode_head__loss_decode__num_classes=11))
    assert 'model.decode_head.loss_decode.num_classes is 11, but model.decode_head has' in message


# Ignored pixels


def test_a_number_that_is_ignored_here_and_counts_there(cfg):
    change(cfg, model__data_preprocessor__seg_pad_val=0, val_evaluator__ignore_index=7)
    message = fails(cfg)
    for line in (
        'pixels that are ignored have more than one number',
        'model.decode_head.ignore_index = 255, its default',
        'model.data_preprocessor.seg_pad_val = 0',
        'val_evaluator.ignore_index = 7',
    ):
        assert line in message


def test_class_0_cannot_be_ignored(cfg):
    message = fails(change(cfg, model__decode_head__ignore_index=0))
    assert 'decode_head.ignore_index is 0, which label maps also use for a class' in message


def test_evaluators_in_a_list(cfg):
    cfg.val_evaluator = [cfg.val_evaluator, dict(type='IoUMetric', ignore_index=0)]
    assert 'val_evaluator[1].ignore_index = 0' in fails(cfg)


def test_padding_in_a_pipeline(cfg):
    pad = dict(type='Pad', size=(96, 96), pad_val=dict(img=0, seg=0))
    cfg.train_dataloader.dataset.pipeline.insert(-1, pad)
    message = fails(cfg)
    assert f'{TRAIN}: the training data set BaseSegDataset' in message
    assert 'Pad' in message


def test_zero_that_is_void_in_the_loader_only(cfg):
    cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label = True
    message = fails(cfg)
    assert f'{TRAIN}.reduce_zero_label is False' in message
    assert f'{TRAIN}.pipeline[1] (LoadAnnotations) has reduce_zero_label=True' in message


def test_zero_that_is_void_in_training_only(cfg):
    cfg.train_dataloader.dataset.reduce_zero_label = True
    message = fails(cfg, 'train', 'val')
    assert f'{TRAIN}.reduce_zero_label is True, but val_dataloader.dataset.reduce' in message


# What cannot be built


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (
            dict(pipeline=[dict(type='LoadImageFromFiles')]),
            f"{TRAIN}.pipeline[0].type: there is no transform 'LoadImageFromFiles': is it "
            "'LoadImageFromFile'",
        ),
        (
            dict(pipeline=[dict(scale=(9, 9))]),
            f"{TRAIN}.pipeline[0]: expected the config of a transform, dict(type='...')",
        ),
        (
            dict(pipeline=[dict(type='RandomCrop', crop_size=(0, 9))]),
            f'{TRAIN}.pipeline[0]: the transform RandomCrop does not take these settings (Assert',
        ),
        (
            dict(pipeline=[dict(type='RandomFlip', probe=0.5)]),
            "It has no argument 'probe', is it 'prob'?",
        ),
        (
            dict(pipeline=[dict(type='TestTimeAug', transforms=[[dict(type='Resise')]])]),
            f"{TRAIN}.pipeline[0].transforms[0][0].type: there is no transform 'Resise'",
        ),
        (dict(pipeline='none'), f'{TRAIN}.pipeline: expected a list of transforms'),
        (dict(type='BaseSegDatset'), f"{TRAIN}.type: there is no data set 'BaseSegDatset'"),
        (dict(img_sufix='.png'), "It has no argument 'img_sufix', is it 'img_suffix'?"),
        (
            dict(data_prefix=dict(image_path='img', seg_map_path='ann')),
            f"{TRAIN}.data_prefix: expected img_path='...', the folder of the images, found",
        ),
        (
            dict(data_prefix=dict(img_path='img', seg_map='ann')),
            f"{TRAIN}.data_prefix: there is no entry 'seg_map'; is it 'seg_map_path'?",
        ),
    ],
)
def test_settings_that_do_not_exist(cfg, settings, expected):
    cfg.train_dataloader.dataset = {**cfg.train_dataloader.dataset.to_dict(), **settings}
    assert expected in fails(cfg)


def test_what_is_missing_where_a_data_set_only_asserts_it(cfg):
    cfg.train_dataloader.dataset = dict(
        type='PascalContextDataset59', data_root='nowhere', ann_file='list.txt', pipeline=[]
    )
    message = fails(cfg)
    assert f"{TRAIN}: there is no 'nowhere/' and no 'nowhere/list.txt'" in message


def test_data_sets_inside_of_others_have_their_key(cfg):
    inner = cfg.train_dataloader.dataset.to_dict()
    wrong = {**inner, 'img_sufix': '.png'}
    joined = dict(type='ConcatDataset', datasets=[inner, wrong])
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=joined)
    assert f'{TRAIN}.dataset.datasets[1]: the data set' in fails(cfg)


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (dict(persistent_workers=True), 'persistent_workers is True, but train_dataloader.num_w'),
        (dict(prefetch_factor=2), 'prefetch_factor is 2, but train_dataloader.num_workers is 0'),
        (dict(batch_size=0), 'train_dataloader.batch_size: expected a number from 1 on, found 0'),
        (dict(num_workers='2'), "num_workers: expected a number from 0 on, found '2'"),
    ],
)
def test_settings_of_loaders(cfg, settings, expected):
    cfg.train_dataloader.update(settings)
    assert expected in fails(cfg)


@pytest.mark.parametrize(
    ('evaluator', 'expected'),
    [
        (dict(type='GroupedIoU'), "val_evaluator.type: there is no evaluator 'GroupedIoU': is it"),
        (
            [dict(type='IoUMetric', ignor_index=0)],
            "val_evaluator[0] (IoUMetric). It has no argument 'ignor_index', is it 'ignore_index'?",
        ),
    ],
)
def test_evaluators_that_do_not_exist(cfg, evaluator, expected):
    """mmseg's metric takes arguments of any name, and forgets them."""
    cfg.val_evaluator = evaluator
    assert expected in fails(cfg)


# Schedules


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        (dict(train_cfg__val_begin=9), 'train_cfg.val_begin is 9, but training ends after 2'),
        (
            dict(default_hooks__checkpoint__by_epoch=True),
            'default_hooks.checkpoint.by_epoch is True, but training counts iterations',
        ),
        (
            dict(default_hooks__checkpoint__save_last=False),
            'default_hooks.checkpoint.interval is 100 and save_last is False',
        ),
    ],
)
def test_schedules_that_leave_something_out(cfg, settings, expected):
    assert warn(cfg) == []
    (line,) = warn(change(cfg, **settings))
    assert expected in line


def test_schedules_of_the_learning_rate(cfg):
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, end=20),
        dict(type='PolyLR', begin=20, end=300, by_epoch=False),
    ]
    by_epoch, late = warn(cfg)
    assert 'param_scheduler[0].by_epoch is True' in by_epoch
    assert 'param_scheduler[1].begin is 20, but training ends after 2 iterations' in late


# In a training


def test_a_training_ends_before_its_data_sets_are_built(tmp_path):
    """So that the error is ours and not that of what is built."""
    cfg = own_config(make_photographs(tmp_path))
    cfg.experiment_name = tmp_path.name
    cfg.val_dataloader.dataset.pipeline[1].type = 'Resise'
    runner = Runner.from_cfg(cfg)
    with pytest.raises(DatasetError, match=r'val_dataloader.dataset.pipeline\[1\].type: there is'):
        runner.train()


def test_objects_in_place_of_configs_are_left_alone():
    loader: Dict[str, Any] = dict(train_dataloader=dict(dataset=object(), batch_size=2))
    assert check_config(Config(loader)) == []
    assert check_config(Config()) == []


def test_epochs_of_a_sampler_that_never_ends(cfg):
    cfg.train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
    assert 'InfiniteSampler' in fails(cfg)
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    check_config(cfg)
