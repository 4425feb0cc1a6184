"""Photographs and label maps as people have them, drawn small, and the config for them."""

import copy
import itertools
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np
from mmengine.config import Config
from PIL import Image

from trees import MMSEG_LAYOUT

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
SIZE = (48, 64)  # height and width
NAMES = ('background', 'crack')
_NUMBERS = itertools.count()


def draw_photograph(number: int = 0, size: Tuple[int, int] = SIZE) -> Tuple[np.ndarray, np.ndarray]:
    """A bright disc on grey (H, W, 3), and where it lies (H, W): 1, elsewhere 0; both uint8."""
    y, x = np.mgrid[: size[0], : size[1]]
    labels = ((y - 18 - number) ** 2 + (x - 28 - 2 * number) ** 2 < 130).astype(np.uint8)
    image = np.where(labels[..., None] == 1, (220, 60, 40), (90, 95, 100)).astype(np.uint8)
    return image, labels


def save(values: np.ndarray, file: Path) -> Path:
    """Write a picture of 8 or 16 bits; folders are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)
    return file


def make_photographs(
    root: Path,
    count: int = 4,
    images: str = 'img',
    labels: Optional[str] = 'ann',
    ids: Sequence[int] = (0, 1),
    suffix: str = '.png',
) -> Path:
    """Write photographs, and label maps in which background and disc have the numbers ``ids``."""
    for number in range(count):
        image, label_map = draw_photograph(number)
        save(image, root / images / f'{number}{suffix}')
        if labels is not None:
            top = max(ids)
            table = np.array(ids, np.uint8 if top < 256 else np.uint16)
            save(table[label_map], root / labels / f'{number}.png')
    return root


def own_config(root: Path, names: Sequence[str] = NAMES, **options: Any) -> Config:
    """CamVid's config for the photographs of :func:`make_photographs`: two iterations.

    Args:
        root: Their folder.
        names: Class names.
        **options: Of the three data sets, such as ``type`` or ``data_prefix``.
    """
    cfg = Config.fromfile(MMSEG_LAYOUT)
    dataset: Dict[str, Any] = dict(
        data_root=str(root),
        metainfo=dict(_delete_=True, classes=tuple(names)),
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        **options,
    )
    loader = dict(num_workers=0, persistent_workers=False, dataset=dataset)
    head = dict(num_classes=len(names), semantic_prompts=dict(class_names=tuple(names)))
    cfg.merge_from_dict(
        dict(
            # Copies, because merging takes `_delete_` out.
            train_dataloader=dict(copy.deepcopy(loader), batch_size=2),
            val_dataloader=copy.deepcopy(loader),
            test_dataloader=copy.deepcopy(loader),
            model=dict(decode_head=head),
            train_cfg=dict(max_iters=2, val_interval=2),
            work_dir=str(root / 'work'),
            # mmengine keeps loggers, and what they write to, by this name.
            experiment_name=f'own_{next(_NUMBERS)}',
        )
    )
    return cfg
