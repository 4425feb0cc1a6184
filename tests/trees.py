"""Small data sets on disk, in the layouts that mmseg's data sets read."""

from pathlib import Path
from typing import Sequence

import cv2
import numpy as np
import pytest

CAMVID = Path(__file__).resolve().parents[2] / 'shared' / 'data' / 'camvid'
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


def make_camvid_tree(root: Path, num_images: int = 4, size: Sequence[int] = (36, 48)) -> None:
    """Random pictures and labels in the layout of ``configs/ssprompt_sam_camvid.py``."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for index in range(num_images):
            picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            ids = rng.integers(0, 11, size, dtype=np.uint8)
            ids[:2] = VOID
            write_pair(
                root, f'img_dir/{split}/{index}.png', f'ann_dir/{split}/{index}.png', picture, ids
            )
