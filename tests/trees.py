"""Small data sets on disk, in the layouts that mmseg's data sets read."""

from pathlib import Path
from typing import Sequence

import cv2
import numpy as np
import pytest
from PIL import Image

CAMVID = Path(__file__).resolve().parents[2] / 'shared' / 'data' / 'camvid'
#: The config of the photographs of :func:`make_photograph_tree`.
MMSEG_LAYOUT = Path(__file__).resolve().parent / 'data' / 'configs' / 'mmseg_layout.py'
VOID = 255


def require_camvid() -> Path:
    """The folder of the photographs, which are not part of the repository."""
    if not CAMVID.is_dir():
        pytest.skip(f'the CamVid photographs are not at {CAMVID}')
    return CAMVID


def write_pair(folder: Path, image: str, label: str, picture: np.ndarray, ids: np.ndarray) -> None:
    """Write an image and its label map."""
    for name, content in ((image, picture), (label, ids)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), content)


def link_camvid(root: Path) -> None:
    """Lay the photographs of CamVid out as SegNet did, for its subset; void is 255 in them."""
    root.mkdir(parents=True)
    for split in ('train', 'val'):
        (root / split).symlink_to(require_camvid() / 'img_dir' / split)
        (root / f'{split}annot').symlink_to(CAMVID / 'ann_dir' / split)


def make_ade20k_tree(root: Path, ids: Sequence[int]) -> None:
    """Lay photographs of CamVid out as ADE20K, its 11 classes as those of ADE20K.

    Args:
        root: ``data/ade/ADEChallengeData2016``.
        ids: ADE20K's id of each class of CamVid, from 1; 0 is "other" in ADE20K.
    """
    table = np.zeros(256, np.uint8)
    table[: len(ids)] = ids
    for split, source, count in (('training', 'train', 2), ('validation', 'val', 1)):
        images = sorted((require_camvid() / 'img_dir' / source).glob('*.png'))[:count]
        for path in images:
            labels = cv2.imread(str(CAMVID / 'ann_dir' / source / path.name), cv2.IMREAD_UNCHANGED)
            write_pair(
                root,
                f'images/{split}/{path.stem}.jpg',
                f'annotations/{split}/{path.stem}.png',
                cv2.imread(str(path)),
                table[labels],
            )


def make_photograph_tree(root: Path, num_images: int = 4, size: Sequence[int] = (36, 48)) -> None:
    """Random pictures and labels in mmseg's layout, for ``MMSEG_LAYOUT``."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for index in range(num_images):
            picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            ids = rng.integers(0, 11, size, dtype=np.uint8)
            ids[:2] = VOID
            write_pair(
                root, f'img_dir/{split}/{index}.png', f'ann_dir/{split}/{index}.png', picture, ids
            )


def write_random_pair(
    folder: Path, image: str, label: str, size: Sequence[int], ids: Sequence[int]
) -> None:
    """Write a random picture, and a label map that has all of ``ids``."""
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    write_pair(folder, image, label, picture, np.resize(np.array(ids, np.uint8), size))


def make_random_ade20k_tree(root: Path) -> None:
    """``data/ade/ADEChallengeData2016``: two training images and one for validation."""
    for split, count in (('training', 2), ('validation', 1)):
        for index in range(count):
            name = f'{split}/ADE_{split[:5]}_0000000{index}'
            image, label = f'images/{name}.jpg', f'annotations/{name}.png'
            write_random_pair(root, image, label, (36, 48), range(151))


def make_cityscapes_tree(root: Path) -> None:
    """``data/cityscapes``: two training images and one for validation, 2:1."""
    ids = [*range(19), VOID]
    for split, city, count in (('train', 'aachen', 2), ('val', 'lindau', 1)):
        for index in range(count):
            name = f'{split}/{city}/{city}_00000{index}_000019'
            image, labels = f'leftImg8bit/{name}_leftImg8bit.png', f'gtFine/{name}_gtFine'
            write_random_pair(root, image, f'{labels}_labelTrainIds.png', (32, 64), ids)
            write_random_pair(root, image, f'{labels}_labelIds.png', (32, 64), range(34))


def make_bdd100k_tree(root: Path) -> None:
    """``data/bdd100k``: two training images and one for validation, 16:9."""
    for split, names in (('train', ('0004a4c0-d4dff0ad', '00054602-3bf57337')), ('val', ('7d06',))):
        for name in names:
            image = f'images/10k/{split}/{name}.jpg'
            label = f'labels/sem_seg/masks/{split}/{name}.png'
            write_random_pair(root, image, label, (36, 64), [*range(19), VOID])


def make_mapillary_tree(root: Path) -> None:
    """``data/mapillary``: label maps have a palette, and 65 for "Unlabeled"."""
    for split, sizes in (('training', ((48, 64), (64, 48))), ('validation', ((48, 64),))):
        for index, size in enumerate(sizes):
            image, label = f'{split}/images/{index}.jpg', f'{split}/v1.2/labels/{index}.png'
            write_random_pair(root, image, label, size, range(66))
            labels = Image.fromarray(cv2.imread(str(root / label), cv2.IMREAD_UNCHANGED))
            labels.putpalette([255 - i // 3 for i in range(768)])  # colours that are not the ids
            labels.save(root / label)
            write_random_pair(root, image, f'{split}/v2.0/labels/{index}.png', size, range(124))


def make_pascal_context_tree(root: Path) -> None:
    """``data/VOCdevkit/VOC2010``: one folder of images, lists of the splits; 0 is background."""
    lists = root / 'ImageSets' / 'SegmentationContext'
    lists.mkdir(parents=True)
    for split, names in (('train', ('2008_000002', '2008_000003')), ('val', ('2008_000009',))):
        (lists / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names))
        for name in names:
            label = f'SegmentationClassContext/{name}.png'
            write_random_pair(root, f'JPEGImages/{name}.jpg', label, (48, 36), range(60))
    write_pair(root, 'JPEGImages/2007_000001.jpg', '2007.png', *np.zeros((2, 4, 4), np.uint8))


def make_acdc_tree(root: Path) -> None:
    """``data/acdc``: two training images and one of each other split per condition, 16:9."""
    for condition in ('fog', 'night', 'rain', 'snow'):
        for split, count in (('train', 2), ('val', 1), ('test', 1)):
            for index in range(count):
                frame = f'GOPR0475/GOPR0475_frame_00004{index}'
                image = f'rgb_anon/{condition}/{split}/{frame}_rgb_anon.png'
                label = f'gt/{condition}/{split}/{frame}_gt_labelTrainIds.png'
                write_random_pair(root, image, label, (36, 64), [*range(19), VOID])
                if split == 'test':
                    (root / label).unlink()  # not public
                reference = f'rgb_anon/{condition}/{split}_ref/{frame}_rgb_ref_anon.png'
                write_pair(root, reference, 'unused.png', *np.zeros((2, 4, 4), np.uint8))


def make_camvid_tree(root: Path) -> None:
    """``data/CamVid``: two training images and one of each other split, 4:3; 11 is void."""
    for split, names in (
        ('train', ('0001TP_006690', '0006R0_f00930')),
        ('val', ('0016E5_07959',)),
        ('test', ('0001TP_008550',)),
    ):
        for name in names:
            image, label = f'{split}/{name}.png', f'{split}annot/{name}.png'
            write_random_pair(root, image, label, (36, 48), range(12))


def make_own_tree(root: Path) -> None:
    """Random pictures with two classes in the layout of ``configs/ssprompt_sam_folder.py``."""
    for split in ('train', 'val'):
        for index in range(2):
            names = (f'images/{split}/{index}.jpg', f'labels/{split}/{index}.png')
            write_random_pair(root, *names, (36, 48), (0, 1, VOID))


_MAKERS = dict(
    ade=make_random_ade20k_tree,
    cityscapes=make_cityscapes_tree,
    bdd100k=make_bdd100k_tree,
    mapillary=make_mapillary_tree,
    VOCdevkit=make_pascal_context_tree,
    acdc=make_acdc_tree,
    CamVid=make_camvid_tree,
    mine=make_own_tree,
)


def make_tree(folder: Path, data_root: str) -> None:
    """Make the tree that belongs into ``data_root``, such as ``data/cityscapes``, in a folder."""
    _MAKERS[Path(data_root).parts[1]](folder / data_root)
