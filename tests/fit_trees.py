"""Folders of photographs and labels for ``fit``, drawn small."""

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image

SIZE = (20, 28)  # height and width
CLASSES = ('sky', 'road', 'car')


def draw(number: int, size: Tuple[int, int] = SIZE) -> Tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) and its ids (H, W), both uint8; the car is another one in each."""
    y, x = np.mgrid[: size[0], : size[1]]
    labels = (y >= size[0] // 2).astype(np.uint8)
    labels[(abs(y - size[0] // 2) < 3) & (abs(x - 5 - number % 16) < 4)] = 2
    colours = np.array([[90, 160, 220], [110, 105, 100], [200, 40, 30]], np.uint8)
    return colours[labels], labels


def save(values: np.ndarray, file: Path, **options: Any) -> Path:
    """Write a picture; folders are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file, **options)
    return file


def make_photographs(root: Path, count: int = 6, names: Sequence[str] = ()) -> Path:
    """``photos/NAME`` and ``labels/NAME.png``, of ids 0 to 2."""
    for number, name in enumerate(names or [f'{n:02d}.png' for n in range(count)]):
        image, labels = draw(number)
        save(image, root / 'photos' / name)
        save(labels, (root / 'labels' / name).with_suffix('.png'))
    return root


def runs_of(mask: np.ndarray) -> Dict[str, Any]:
    """A mask (H, W) as COCO's run lengths."""
    flat = np.concatenate([[0], mask.T.reshape(-1).astype(int), [-1]])
    ends = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], ends])).tolist()
    return dict(size=list(mask.shape), counts=counts)


def make_coco(root: Path, count: int = 6, regions: bool = True) -> Path:
    """``photos/NAME`` and ``objects.json``, of a car each, and of sky and road if asked for."""
    images: List[Dict[str, Any]] = []
    annotations: List[Dict[str, Any]] = []
    for number in range(count):
        image, labels = draw(number)
        save(image, root / 'photos' / f'{number:02d}.png')
        size = dict(height=SIZE[0], width=SIZE[1])
        images.append(dict(size, id=number, file_name=f'{number:02d}.png'))
        # The regions go on below the car, which is smaller and lies on top.
        masks = [labels == 2]
        if regions:
            rows = np.mgrid[: SIZE[0], : SIZE[1]][0]
            masks += [rows < SIZE[0] // 2, rows >= SIZE[0] // 2]
        for category, mask in zip((30, 10, 20), masks):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=category,
                    iscrowd=0,
                    area=int(mask.sum()),
                    segmentation=runs_of(mask),
                )
            )
    names = zip((10, 20, 30), CLASSES)
    categories = [dict(id=0, name='objects'), *(dict(id=i, name=n) for i, n in names)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'objects.json').write_text(json.dumps(content))
    return root


def make_panoptic(root: Path, count: int = 6) -> Path:
    """``photos/NAME``, ``panoptic.json`` and ``panoptic/NAME.png``."""
    images, annotations = [], []
    for number in range(count):
        image, labels = draw(number)
        name = f'{number:02d}.png'
        save(image, root / 'photos' / name)
        ids = labels.astype(np.uint8) + 1
        save(np.stack([ids, 0 * ids, 0 * ids], -1), root / 'panoptic' / name)
        images.append(dict(id=number, file_name=name, height=SIZE[0], width=SIZE[1]))
        infos = [
            dict(id=i + 1, category_id=c, iscrowd=0, area=int((labels == i).sum()))
            for i, c in enumerate((10, 20, 30))
        ]
        annotations.append(dict(image_id=number, file_name=name, segments_info=infos))
    categories = [
        dict(id=i, name=n, isthing=int(n == 'car')) for i, n in zip((10, 20, 30), CLASSES)
    ]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'panoptic.json').write_text(json.dumps(content))
    return root
