"""Photographs and label maps of one's own, whatever their files are called."""

import re
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

from mmseg_ssprompt.datasets import DatasetError, ImageFolderDataset
from mmseg_ssprompt.models.prompts.semantic import resolve_class_names
from mmseg_ssprompt.prompt_files.open_vocabulary import with_class_names
from own_photographs import CONFIGS, draw_photograph, save
from picture_files import LOAD
from trees import MMSEG_LAYOUT

NAMES = ('background', 'crack')


def write(root: Path, images: List[str], labels: Optional[List[str]] = None) -> Path:
    """Photographs and label maps of these names."""
    picture, ids = draw_photograph()
    for name in images:
        save(picture, root / 'images' / name)
    for name in [f'{Path(i).with_suffix(".png")}' for i in images] if labels is None else labels:
        save(ids, root / 'labels' / name)
    return root


def build(root: Path, **options: Any) -> ImageFolderDataset:
    prefix = dict(img_path='images', seg_map_path='labels')
    settings: Dict[str, Any] = dict(classes=NAMES, data_prefix=prefix, pipeline=LOAD)
    return DATASETS.build(
        dict(settings, type='ImageFolderDataset', data_root=str(root), **options)
        if not set(options) & set(settings)
        else dict(dict(settings, **options), type='ImageFolderDataset', data_root=str(root))
    )


def pairs(dataset: Any) -> Dict[str, Optional[str]]:
    """Label maps by image, without the folders."""
    found = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        names = [info['img_path'], info.get('seg_map_path')]
        shown = [name and Path(name).relative_to(dataset.data_root).as_posix() for name in names]
        found[shown[0]] = shown[1]
    return found


def test_all_suffixes_and_folders_are_taken(tmp_path, log):
    names = ['a.png', 'b.PNG', 'c.jpg', 'd.JPEG', 'e.tif', 'f.webp', 'g.bmp', 'x/y/h.JPG', 'i.tiff']
    write(tmp_path, names)
    (tmp_path / 'images' / 'notes.txt').write_text('of a day')
    (tmp_path / 'images' / 'list.csv').write_text('1')
    (tmp_path / 'images' / 'more.txt').write_text('2')
    dataset = build(tmp_path)
    assert pairs(dataset) == {
        f'images/{name}': f'labels/{Path(name).with_suffix(".png")}' for name in names
    }
    assert 'that are left out, because only' in log.text
    assert 'images: 1 .csv, 2 .txt' in log.text
    sample = dataset[0]
    assert sample['img'].shape == (48, 64, 3)
    assert sorted(np.unique(sample['gt_seg_map'])) == [0, 1]


def test_label_maps_of_other_suffixes_serve_and_a_png_goes_first(tmp_path):
    write(tmp_path, ['a.jpg', 'b.jpg'], ['a.tif', 'b.png', 'b.jpg'])
    assert pairs(build(tmp_path)) == {
        'images/a.jpg': 'labels/a.tif',
        'images/b.jpg': 'labels/b.png',
    }


def test_two_label_maps_of_one_image_are_refused(tmp_path):
    write(tmp_path, ['a.jpg', 'b.jpg'], ['a.tif', 'a.bmp', 'b.png'])
    with pytest.raises(DatasetError, match=r"1 with several: 'a.bmp', 'a.tif'\. Remove"):
        build(tmp_path)


def test_two_images_of_one_name_are_refused(tmp_path):
    write(tmp_path, ['a.jpg', 'a.png', 'b.jpg'])
    with pytest.raises(DatasetError, match=r"1 with several: 'a.jpg', 'a.png'"):
        build(tmp_path)
    assert list(pairs(build(tmp_path, img_suffix='.jpg'))) == ['images/a.jpg', 'images/b.jpg']


def test_label_maps_beside_the_images(tmp_path):
    picture, ids = draw_photograph()
    for name in 'ab':
        save(picture, tmp_path / f'{name}.jpg')
        save(ids, tmp_path / f'{name}_mask.png')
    prefix = dict(img_path='', seg_map_path='')
    dataset = build(tmp_path, data_prefix=prefix, seg_map_suffix='_mask.png')
    assert pairs(dataset) == {'a.jpg': 'a_mask.png', 'b.jpg': 'b_mask.png'}


def test_the_suffix_of_label_maps_in_their_own_folder_leaves_no_image_out(tmp_path):
    write(tmp_path, ['a.png', 'b.PNG', 'c.jpg'])
    assert pairs(build(tmp_path, seg_map_suffix='.png')) == {
        'images/a.png': 'labels/a.png',
        'images/b.PNG': 'labels/b.png',
        'images/c.jpg': 'labels/c.png',
    }


def test_the_suffix_of_label_maps_tells_them_by_a_link_to_the_same_folder_too(tmp_path):
    picture, ids = draw_photograph()
    save(picture, tmp_path / 'images' / 'a.jpg')
    save(ids, tmp_path / 'images' / 'a.png')
    (tmp_path / 'labels').symlink_to(tmp_path / 'images')
    assert pairs(build(tmp_path, seg_map_suffix='.png')) == {'images/a.jpg': 'labels/a.png'}


def test_without_label_maps_only_a_suffix_that_is_more_than_png_leaves_files_out(tmp_path, log):
    write(tmp_path, ['a.png', 'a_mask.png'], [])
    options = dict(data_prefix=dict(img_path='images'), pipeline=LOAD[:1], test_mode=True)
    assert list(pairs(build(tmp_path, seg_map_suffix='_mask.png', **options))) == ['images/a.png']
    assert 'are images: 1 _mask.png (seg_map_suffix)' in log.text
    assert len(pairs(build(tmp_path, seg_map_suffix='.png', **options))) == 2


def test_images_that_are_all_taken_for_label_maps_are_counted(tmp_path):
    write(tmp_path, ['a.png', 'b.png'], [])
    prefix = dict(img_path='images', seg_map_path='images')
    with pytest.raises(DatasetError) as error:
        build(tmp_path, data_prefix=prefix, seg_map_suffix='.png')
    assert 'found 2 .png (seg_map_suffix)' in str(error.value)
    assert 'seg_map_suffix to what only label maps end in' in str(error.value)


def test_a_folder_of_label_maps_inside_of_that_of_the_images(tmp_path):
    picture, ids = draw_photograph()
    save(picture, tmp_path / 'a.png')
    save(ids, tmp_path / 'labels' / 'a.png')
    dataset = build(tmp_path, data_prefix=dict(img_path='', seg_map_path='labels'))
    assert pairs(dataset) == {'a.png': 'labels/a.png'}


def test_images_without_label_map_are_counted_and_listed(tmp_path):
    write(tmp_path, [f'{i}.jpg' for i in range(9)], ['0.png', 'zero.png'])
    with pytest.raises(DatasetError) as info:
        build(tmp_path)
    text = str(info.value)
    assert text.startswith('8 of 9 images in ')
    assert ": '1.jpg', '2.jpg', '3.jpg', '4.jpg', '5.jpg' and 3 more. Expected a file" in text
    assert "such as '1.png'; label maps without image: 'zero.png'" in text


@pytest.mark.parametrize(
    'prefix', [dict(img_path='images'), dict(img_path='images', seg_map_path=None)]
)
def test_without_a_folder_of_label_maps_images_can_be_predicted(tmp_path, prefix):
    write(tmp_path, ['a.jpg'], [])
    dataset = build(tmp_path, data_prefix=prefix, pipeline=LOAD[:1], test_mode=True)
    assert pairs(dataset) == {'images/a.jpg': None}
    assert dataset[0]['img'].shape == (48, 64, 3)


def test_label_maps_without_image_are_said(tmp_path, log):
    write(tmp_path, ['a.jpg'], ['a.png', 'b.png'])
    build(tmp_path)
    assert '1 label maps in' in log.text
    assert 'have no image in' in log.text and "'b.png'" in log.text


def test_a_folder_that_is_not_there_is_named(tmp_path):
    write(tmp_path, ['a.jpg'])
    with pytest.raises(DatasetError, match=r"data_prefix\.img_path at '.*pictures', found none"):
        build(tmp_path, data_prefix=dict(img_path='pictures', seg_map_path='labels'))
    with pytest.raises(DatasetError, match=r"data_prefix\.seg_map_path at '.*masks', found none"):
        build(tmp_path, data_prefix=dict(img_path='images', seg_map_path='masks'))


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / 'images').mkdir(parents=True)
    (tmp_path / 'images' / 'a.gif').write_text('')
    with pytest.raises(DatasetError, match=r'expected images \(\.bmp, .*found 1 \.gif'):
        build(tmp_path)


def test_a_list_of_names_chooses(tmp_path):
    write(tmp_path, ['a.jpg', 'b.png', 'x/c.jpg'])
    (tmp_path / 'list.txt').write_text('x/c\na.jpg\n\n')
    assert list(pairs(build(tmp_path, ann_file='list.txt'))) == ['images/a.jpg', 'images/x/c.jpg']
    (tmp_path / 'list.txt').write_text('x/c\nd\ne.jpg\n')
    with pytest.raises(DatasetError, match=r"2 of 3 lines without such an image: 'd', 'e.jpg'"):
        build(tmp_path, ann_file='list.txt')
    (tmp_path / 'list.txt').write_text('\n')
    with pytest.raises(DatasetError, match=r"ann_file '.*list.txt': .* found an empty file"):
        build(tmp_path, ann_file='list.txt')
    with pytest.raises(DatasetError, match=r"ann_file '.*other.txt': expected a text file"):
        build(tmp_path, ann_file='other.txt')


# Classes and ids


def test_classes_replace_what_a_base_says(tmp_path):
    write(tmp_path, ['a.jpg'])
    base = Config.fromfile(MMSEG_LAYOUT).train_dataloader.dataset
    own = dict(type='ImageFolderDataset', data_root=str(tmp_path), classes=list(NAMES))
    own['data_prefix'] = dict(img_path='images', seg_map_path='labels')
    dataset = DATASETS.build(dict(dict(base, **own), img_suffix='.jpg'))
    assert dataset.metainfo['classes'] == NAMES
    assert set(dataset.metainfo) == {'classes', 'palette', 'label_map', 'reduce_zero_label'}
    assert np.array(dataset.metainfo['palette']).shape == (2, 3)
    coloured = build(tmp_path, palette=[[1, 2, 3], [4, 5, 6]])
    assert coloured.metainfo['palette'] == [[1, 2, 3], [4, 5, 6]]


def test_metainfo_serves_where_no_classes_are_given(tmp_path):
    write(tmp_path, ['a.jpg'])
    metainfo = dict(classes=NAMES, thing_classes=('crack',))
    dataset = build(tmp_path, classes=None, metainfo=metainfo)
    assert dataset.metainfo['thing_classes'] == ('crack',)


@pytest.mark.parametrize('classes', [None, [], 'crack', [1, 2]])
def test_classes_that_are_no_names(tmp_path, classes):
    with pytest.raises(ValueError, match='expected classes as a list of names'):
        build(write(tmp_path, ['a.jpg']), classes=classes)


@pytest.mark.parametrize('setting', ['classes', 'metainfo'])
def test_classes_in_a_file(tmp_path, setting):
    write(tmp_path, ['a.jpg'])
    file = tmp_path / 'classes.txt'
    file.write_text('background\ncrack\n')
    given = dict(classes=str(file)) if setting == 'classes' else dict(classes=None)
    dataset = build(tmp_path, metainfo=dict(classes=str(file)), **given)
    assert dataset.metainfo['classes'] == NAMES


@pytest.mark.parametrize('setting', ['palette', 'metainfo'])
@pytest.mark.parametrize(
    'palette',
    [
        [[1, 2, 3]],
        [[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]],
        [[0, 0, 0], [0, 0, 300]],
        [[0, 0, 0], [0, 0, -1]],
        [[0, 0, 0], [0, 0]],
        [0, 1],
        7,
        np.zeros((2, 3)),
    ],
)
def test_palettes_that_are_none(tmp_path, setting, palette):
    write(tmp_path, ['a.jpg'])
    options = dict(palette=palette)
    if setting == 'metainfo':
        options = dict(classes=None, metainfo=dict(classes=NAMES, palette=palette))
    message = 'palette: expected a colour [R, G, B] of whole numbers from 0 to 255 for each of 2 '
    with pytest.raises(ValueError, match=re.escape(message)) as info:
        build(tmp_path, **options)
    assert str(info.value).endswith(f'found {palette!r}')


@pytest.mark.parametrize('label_map', [{0: 0, 255: 1}, {255: 1}, {'255': 1}])
def test_masks_become_classes(tmp_path, label_map):
    picture, ids = draw_photograph()
    save(picture, tmp_path / 'images' / 'a.jpg')
    save(ids * 255, tmp_path / 'labels' / 'a.png')
    dataset = build(tmp_path, label_map=label_map)
    np.testing.assert_array_equal(dataset[0]['gt_seg_map'], ids)
    assert dataset.metainfo['label_map'] == {0: 0, 1: 1, 255: 1}


def test_ids_are_exchanged_at_once(tmp_path):
    write(tmp_path, ['a.jpg'])
    _, ids = draw_photograph()
    np.testing.assert_array_equal(build(tmp_path, label_map={0: 1, 1: 0})[0]['gt_seg_map'], 1 - ids)
    ignored = build(tmp_path, label_map={0: 255})[0]['gt_seg_map']
    np.testing.assert_array_equal(ignored, np.where(ids == 0, 255, 1))


@pytest.mark.parametrize('label_map', [{0: 2}, {0: -1}, {'x': 0}, {0: 0.0}, [0, 1], {True: 0}])
def test_label_maps_that_are_none(tmp_path, label_map):
    with pytest.raises(ValueError, match=r'label_map: expected ids of classes \(0 to 1\) or 255'):
        build(write(tmp_path, ['a.jpg']), label_map=label_map)


def test_a_label_map_goes_with_no_reduced_zero(tmp_path):
    with pytest.raises(ValueError, match='label_map and reduce_zero_label=True: expected one'):
        build(write(tmp_path, ['a.jpg']), label_map={1: 0}, reduce_zero_label=True)


def test_other_class_names_for_a_folder(tmp_path):
    """As ``tools/test.py --classes`` asks for them, with masks of 0 and 255."""
    picture, ids = draw_photograph()
    save(picture, tmp_path / 'images' / 'a.jpg')
    save(ids * 255, tmp_path / 'labels' / 'a.png')
    cfg = Config.fromfile(CONFIGS / 'ssprompt_sam-tiny_folder.py')
    own = dict(data_root=str(tmp_path), classes=NAMES, label_map={255: 1}, pipeline=LOAD)
    own['data_prefix'] = dict(img_path='images', seg_map_path='labels')
    cfg.test_dataloader.dataset.update(own)
    cfg = with_class_names(cfg, ['crack', 'sky'])
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    np.testing.assert_array_equal(dataset[0]['gt_seg_map'], np.where(ids == 1, 0, 255))


def test_class_names_win_over_the_data_set_of_a_base():
    assert resolve_class_names(NAMES, dataset='ADE20KDataset', classes=['sky']) == NAMES
    assert resolve_class_names(NAMES, classes=['sky']) == NAMES
