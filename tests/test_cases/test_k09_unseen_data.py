"""Data that is there and not looked at is said."""

import shutil
from typing import Any, List

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.registry import DATASETS

from mmseg_ssprompt.datasets import DatasetError
from mmseg_ssprompt.datasets.left_out import count_pictures, find_left_out
from mmseg_ssprompt.datasets.survey import Survey, survey_samples
from mmseg_ssprompt.label_ids import LabelIds, resolve_label_ids
from own_photographs import NAMES, draw_photograph, make_photographs, own_config, save

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def build(root: Any, **options: Any) -> Any:
    return DATASETS.build(
        dict(
            dict(
                type='BaseSegDataset',
                data_root=str(root),
                data_prefix=dict(img_path='img', seg_map_path='ann'),
                img_suffix='.png',
                metainfo=dict(classes=NAMES),
                pipeline=LOAD,
                serialize_data=False,
            ),
            **options,
        )
    )


def survey_of(root: Any, names: Any = NAMES, ids: Any = None) -> Survey:
    ids = ids or LabelIds(len(names))
    survey = Survey(names, ids)
    survey_samples(survey, build(root, metainfo=dict(classes=names)), ids, 10)
    return survey


# Pixels that are ignored


def test_masks_of_0_and_255_are_refused_for_training(tmp_path):
    survey = survey_of(make_photographs(tmp_path, ids=(0, 255)))
    share = sum(draw_photograph(number)[1].mean() for number in range(4)) / 4
    figure = f'255 is {100 * share:.3g} % of the pixels and therefore ignored'
    with pytest.raises(DatasetError) as raised:
        survey.check_whole(training=True)
    message = str(raised.value)
    assert figure in message
    assert "the classes ['crack'] are in none of 4 label maps" in message
    assert "dict(type='LoadLabelMap', label_map={0: 0, 255: 1})" in message
    survey.check_whole()  # of a test set it is a warning
    (line,) = survey.warnings()
    assert "1 of 2 classes are in none of 4 label maps: ['crack']" in line
    assert figure in line
    assert 'label_map={0: 0, 255: 1}' in line


def test_the_figures_are_counted(tmp_path):
    survey = survey_of(make_photographs(tmp_path, ids=(0, 255)))
    pixels = 4 * 48 * 64
    ignored = sum(int(draw_photograph(number)[1].sum()) for number in range(4))
    assert (survey.pixels, survey.ignored) == (pixels, ignored)
    report = survey.to_dict()
    assert (report['pixels'], report['ignored_pixels']) == (pixels, ignored)


def test_three_classes_of_which_two_are_seen(tmp_path):
    """255 may be void here, so it is no error."""
    root = make_photographs(tmp_path, ids=(0, 255))
    save(np.ones((48, 64), np.uint8), root / 'ann' / '3.png')
    survey = survey_of(root, (*NAMES, 'sky'))
    survey.check_whole(training=True)
    assert "['sky']; 255 is" in survey.warnings()[0]


def test_void_beside_all_classes_is_no_warning(tmp_path):
    root = make_photographs(tmp_path)
    labels = draw_photograph()[1]
    labels[:20] = 255
    save(labels, root / 'ann' / '0.png')
    survey = survey_of(root)
    survey.check_whole(training=True)
    assert survey.warnings() == []
    assert survey.describe_ignored() == '255 is 10.4 % of the pixels and therefore ignored'


def test_one_class_against_the_rest(tmp_path):
    """With rest_id=0 the class is 1: masks of 0 and 255 never show it."""
    root = make_photographs(tmp_path, ids=(0, 255))
    survey = survey_of(root, ('crack',), resolve_label_ids(1, None, 0))
    with pytest.raises(DatasetError, match=r'label_map={0: 0, 255: 1}'):
        survey.check_whole(training=True)
    survey_of(root, ('crack',), resolve_label_ids(1, None, 255)).check_whole(training=True)


def test_a_training_on_masks_ends_before_its_first_step(tmp_path):
    cfg = own_config(make_photographs(tmp_path, ids=(0, 255)))
    cfg.experiment_name = tmp_path.name
    runner = Runner.from_cfg(cfg)
    with pytest.raises(DatasetError, match=r"classes \['crack'\] are in none of 4 label maps"):
        runner.train()


# Files that are left out


def mixed(root: Any) -> Any:
    """Four images of three suffixes."""
    make_photographs(root)
    for number, suffix in ((2, '.PNG'), (3, '.jpg')):
        shutil.move(root / 'img' / f'{number}.png', root / 'img' / f'{number}{suffix}')
    return root


def test_images_of_other_suffixes(tmp_path):
    (images,) = find_left_out(build(mixed(tmp_path)))
    assert images.startswith(f'2 of 4 images in {str(tmp_path / "img")!r} are left out')
    assert "img_suffix='.png'" in images
    assert "1 '.PNG'" in images and "1 '.jpg'" in images


def test_nothing_is_left_out(tmp_path):
    root = make_photographs(tmp_path)
    (root / 'img' / 'Thumbs.db').write_bytes(b'x')
    (root / 'img' / '.hidden.jpg').write_bytes(b'x')
    (root / 'img' / 'notes.txt').write_text('x')
    assert find_left_out(build(root)) == []
    assert count_pictures(str(root / 'img')) == {'.png': 4}


def test_images_and_label_maps_in_one_folder(tmp_path):
    make_photographs(tmp_path, images='all', labels='all_labels', suffix='.jpg')
    for file in (tmp_path / 'all_labels').iterdir():
        shutil.move(file, tmp_path / 'all' / file.name)
    dataset = build(
        tmp_path, img_suffix='.jpg', data_prefix=dict(img_path='all', seg_map_path='all')
    )
    assert find_left_out(dataset) == []


def test_long_suffixes_look_at_their_own_files_only(tmp_path):
    """As of Cityscapes and ACDC, whose folders hold other pictures too."""
    root = make_photographs(tmp_path, suffix='_photo.png')
    image = draw_photograph()[0]
    save(image, root / 'img' / '0_reference.png')
    assert find_left_out(build(root, img_suffix='_photo.png', seg_map_suffix='.png')) == []
    save(image, root / 'img' / '9_photo.tif')
    (line,) = find_left_out(build(root, img_suffix='_photo.png', seg_map_suffix='.png'))
    assert '1 of 5 images' in line


def test_sub_folders_and_lists(tmp_path):
    root = make_photographs(tmp_path)
    save(draw_photograph()[0], root / 'img' / 'more' / '9.jpeg')
    (line,) = find_left_out(build(root))
    assert '1 of 5 images' in line and "9.jpeg'" in line
    (root / 'list.txt').write_text('0\n1\n')
    assert find_left_out(build(root, ann_file='list.txt')) == []


def test_folders_that_are_not_on_this_machine():
    assert find_left_out(DATASETS.build(dict(type='ShapesWorldDataset', num_images=2))) == []


def test_a_training_says_it_in_its_log(tmp_path, monkeypatch):
    lines: List[str] = []
    monkeypatch.setattr(
        'mmseg_ssprompt.hooks.dataset_check_hook.print_log',
        lambda line, logger, level: lines.append(line),
    )
    cfg = own_config(mixed(tmp_path))
    cfg.experiment_name = tmp_path.name
    runner = Runner.from_cfg(cfg)
    runner.train()
    text = '\n'.join(lines)
    assert 'training data: 2 of 4 images in' in text
    assert 'validation data: 2 of 4 images in' in text
    assert runner.iter == 2
