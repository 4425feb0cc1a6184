"""CamVid: its arrangement, the subset of the README, and the converter from the original."""

import runpy
from pathlib import Path
from typing import Any, Dict, List

import cv2
import numpy as np
import pytest
from mmengine.config import Config

import mmseg_ssprompt  # noqa: F401  (before mmseg)
from trees import make_camvid_tree

from mmseg.registry import DATASETS  # isort: skip

ROOT = Path(__file__).resolve().parents[2]
CONFIGS, CONVERTER = ROOT / 'configs', ROOT / 'tools' / 'dataset_converters' / 'camvid.py'
LISTS = CONFIGS / '_base_' / 'datasets' / 'camvid_subset'


def build(name: str, split: str) -> Any:
    return DATASETS.build(Config.fromfile(CONFIGS / f'{name}.py')[f'{split}_dataloader'].dataset)


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_camvid_tree(tmp_path / 'data' / 'CamVid')
    return tmp_path / 'data' / 'CamVid'


@pytest.mark.parametrize(('split', 'count'), [('train', 2), ('val', 1), ('test', 1)])
def test_each_split_has_its_folders_and_void_is_ignored(tree, split, count):
    dataset = build('ssprompt_sam-tiny_camvid', split)
    assert len(dataset) == count
    sample = dataset[0]['data_samples']
    assert Path(sample.metainfo['img_path']).parent.name == split
    assert sample.gt_sem_seg.data.unique().tolist() == [*range(11), 255]
    assert dataset.metainfo['classes'][-1] == 'bicyclist'
    assert len(dataset.metainfo['palette']) == 11


def test_the_subset_is_every_sixth_and_every_fourth_of_segnet_s_lists():
    train, val = ((LISTS / f'{split}.txt').read_text().split() for split in ('train', 'val'))
    assert (len(train), len(val)) == (-(-367 // 6), -(-101 // 4))
    assert train == sorted(train) and val == sorted(val)
    find_split = runpy.run_path(str(CONVERTER))['find_split']
    assert {find_split(name) for name in train} == {'train'}
    assert {find_split(name) for name in val} == {'val'}
    frames = [int(name.rpartition('_')[2]) for name in val]
    assert frames == list(range(7959, 8160, 8))  # of every second frame


def test_the_subset_reads_what_is_listed(tree):
    config = Config.fromfile(CONFIGS / 'ssprompt_sam-tiny_camvid_subset.py')
    for split, folder in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = config[f'{split}_dataloader'].dataset
        assert dataset.data_prefix == dict(img_path=folder, seg_map_path=f'{folder}annot')
        assert Path(dataset.ann_file) == LISTS / f'{folder}.txt'
    first = build('ssprompt_sam-tiny_camvid_subset', 'val').get_data_info(0)
    assert Path(first['img_path']) == Path('data/CamVid/val/0016E5_07959.png')


# The converter

SIZE = (6, 8)


@pytest.fixture
def original(tmp_path) -> Path:
    """A picture of each sequence and of each end of a split, whose masks have all 32 colours."""
    colours = [c for group in converter()['COLOURS'].values() for c in group.values()]
    mask = np.resize(np.array(colours, np.uint8), (*SIZE, 3))
    names = ('0001TP_008520', '0001TP_008550', '0001TP_010380', '0006R0_f00930')
    names += ('0016E5_07957', '0016E5_07959', '0016E5_08159', '0016E5_08161', 'Seq05VD_f00000')
    for index, name in enumerate(names):
        picture, folder = np.full((*SIZE, 3), index, np.uint8), tmp_path / 'original'
        write(picture, folder / '701_StillsRaw_full' / f'{name}.png')
        write(mask[..., ::-1], folder / 'LabeledApproved_full' / f'{name}_L.png')
    return folder


def converter() -> Dict[str, Any]:
    return runpy.run_path(str(CONVERTER))


def write(picture: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), picture)


def convert(monkeypatch, *arguments: Any) -> None:
    monkeypatch.setattr('sys.argv', ['camvid.py', *map(str, arguments)])
    runpy.run_path(str(CONVERTER), run_name='__main__')


def names_in(folder: Path) -> List[str]:
    return sorted(path.stem for path in folder.iterdir())


def test_all_32_colours_have_one_group():
    groups = converter()['COLOURS']
    colours = [colour for group in groups.values() for colour in group.values()]
    assert len(colours) == len(set(colours)) == 32
    assert sorted(groups) == list(range(12))


def test_pictures_are_split_as_segnet_split_them(original, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'data' / 'CamVid'
    convert(monkeypatch, original, '--out-dir', out)
    assert names_in(out / 'test') == ['0001TP_008550', '0001TP_010380', 'Seq05VD_f00000']
    assert names_in(out / 'val') == ['0016E5_07959', '0016E5_08159']
    train = ['0001TP_008520', '0006R0_f00930', '0016E5_07957', '0016E5_08161']
    assert names_in(out / 'train') == names_in(out / 'trainannot') == train
    assert capsys.readouterr().out.endswith('4 of train, 2 of val, 3 of test\n')


def test_labels_are_ids_and_pictures_stay_as_they_are(original, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    convert(monkeypatch, original, '-o', out)
    labels = cv2.imread(str(out / 'trainannot' / '0006R0_f00930.png'), cv2.IMREAD_UNCHANGED)
    counts = (len(group) for group in converter()['COLOURS'].values())
    ids = [number for number, count in enumerate(counts) for _ in range(count)]
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.resize(ids, SIZE))
    assert (cv2.imread(str(out / 'train' / '0006R0_f00930.png')) == 3).all()


def test_pictures_are_resized_if_asked(original, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    convert(monkeypatch, original, '-o', out, '--size', 4, 3)
    for folder in ('val', 'valannot'):
        assert cv2.imread(str(out / folder / '0016E5_07959.png')).shape == (3, 4, 3)
    labels = cv2.imread(str(out / 'valannot' / '0016E5_07959.png'), cv2.IMREAD_UNCHANGED)
    assert labels.max() <= 11


def test_a_pixel_of_an_unknown_colour_is_void(tmp_path):
    names = converter()
    mask = np.full((20, 20, 3), 128, np.uint8)
    mask[3, 4] = 7
    cv2.imwrite(str(tmp_path / 'a_L.png'), mask)
    labels = names['read_labels'](tmp_path / 'a_L.png', names['make_table']())
    assert labels[3, 4] == 11 and (labels == 0).sum() == 399


def damage(kind: str, original: Path) -> None:
    mask = original / 'LabeledApproved_full' / '0006R0_f00930_L.png'
    if kind == 'colours':
        write(np.full((*SIZE, 3), (3, 2, 1), np.uint8), mask)
    elif kind == 'size':
        write(np.full((4, 4, 3), 128, np.uint8), mask)
    elif kind == 'no mask':
        mask.unlink()
    else:
        mask.write_text('no picture')


@pytest.mark.parametrize(
    ('kind', 'said'),
    [
        ('colours', r'0006R0_f00930_L.*100\.0 % of the pixels, such as RGB \(1, 2, 3\)'),
        ('size', r'0006R0_f00930_L.png. has 4 x 4 pixels, but its picture has 8 x 6'),
        ('no mask', r'1 are missing, the first is 0006R0_f00930_L.png'),
        ('text', r'0006R0_f00930_L.png.: expected a picture'),
    ],
)
def test_what_is_wrong_is_named(original, tmp_path, monkeypatch, kind, said):
    damage(kind, original)
    with pytest.raises(SystemExit, match=said):
        convert(monkeypatch, original, '-o', tmp_path / 'out')


def test_it_writes_into_new_folders_outside_of_the_original(original, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match='lies in the original'):
        convert(monkeypatch, original, '-o', original / 'new')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'mine.txt').write_text('kept')
    with pytest.raises(SystemExit, match='expected a new or an empty folder'):
        convert(monkeypatch, original, '-o', tmp_path / 'out')
    with pytest.raises(SystemExit, match='expected NAME.png, found none'):
        convert(monkeypatch, tmp_path / 'nothing')
