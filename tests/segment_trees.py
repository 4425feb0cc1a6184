"""Small data sets with objects on disk, in the real layouts of the data sets of the field.

All show the same scene: two regions of stuff, three objects of two classes, a crowd, and void.
"""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image

SIZE = (24, 32)


class Drawn(NamedTuple):
    """A segment of the scene."""

    name: str
    iscrowd: int
    mask: np.ndarray  # (H, W) bool


class Names(NamedTuple):
    """What the scene's classes are called in a data set."""

    above: str
    below: str
    one: str  # two objects and a crowd
    other: str  # one object


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


#: Left, top, right, bottom of objects as COCO's polygons have them.
BOXES = dict(first=(4, 4, 12, 10), second=(20, 4, 28, 10), third=(8, 14, 16, 22))
OBJECTS = [box(4, 10, 4, 12), box(4, 10, 20, 28), box(14, 22, 8, 16)]
CROWD = box(16, 20, 22, 30)


def draw_scene(names: Names, stuff: bool = True, crowd: bool = True) -> List[Drawn]:
    """The segments of the scene; void is above, in the first two rows."""
    things = [Drawn(n, 0, m) for n, m in zip((names.one, names.one, names.other), OBJECTS)]
    things += [Drawn(names.one, 1, CROWD)] * crowd
    covered = np.any([each.mask for each in things], axis=0)
    above, below = box(2, 12, 0, 32) & ~covered, box(12, 24, 0, 32) & ~covered
    regions = [Drawn(names.above, 0, above), Drawn(names.below, 0, below)]
    return things + regions * stuff


def write_image(path: Path, size: Sequence[int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), picture)


def write_png(path: Path, content: np.ndarray) -> None:
    """Channels in the order of RGBA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(content).save(path)


def to_rgb(ids: np.ndarray) -> np.ndarray:
    """COCO's panoptic ids as colours."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def write_coco_panoptic(
    file: Path,
    maps: Path,
    scene: Sequence[Drawn],
    categories: Sequence[Dict[str, Any]],
    images: Sequence[Tuple[Any, str, str]],
    map_name: str = '{}.png',
) -> None:
    """Write a file in COCO's panoptic format and its PNG files.

    Args:
        file: The JSON file.
        maps: Folder of the PNG files.
        scene: What each image shows.
        categories: With id, name and isthing.
        images: Id, name in the file, and stem of the PNG file.
        map_name: Of a PNG file.
    """
    by_name = {each['name']: each['id'] for each in categories}
    ids, infos = np.zeros(SIZE, np.int64), []
    for number, each in enumerate(scene, 1):
        segment_id = number * 70_001  # of more than one byte
        ids[each.mask] = segment_id
        area, crowd = int(each.mask.sum()), each.iscrowd
        category = by_name[each.name]
        infos.append(dict(id=segment_id, category_id=category, iscrowd=crowd, area=area))
    annotations, entries = [], []
    for image_id, name, stem in images:
        write_png(maps / map_name.format(stem), to_rgb(ids))
        entries.append(dict(id=image_id, file_name=name, height=SIZE[0], width=SIZE[1]))
        annotation = dict(image_id=image_id, file_name=map_name.format(stem), segments_info=infos)
        annotations.append(annotation)
    file.parent.mkdir(parents=True, exist_ok=True)
    content = dict(images=entries, annotations=annotations, categories=list(categories))
    file.write_text(json.dumps(content))


def categories_of(names: Names, first: int = 1, step: int = 1) -> List[Dict[str, Any]]:
    rows = [(names.one, 1), (names.other, 1), (names.above, 0), (names.below, 0)]
    return [
        dict(id=first + step * i, name=name, isthing=isthing)
        for i, (name, isthing) in enumerate(rows)
    ]


COCO = Names('sky-other-merged', 'grass-merged', 'person', 'kite')
STREET = Names('sky', 'road', 'car', 'person')
ADE = Names('sky', 'floor', 'chair', 'table')
VISTAS = Names('Sky', 'Road', 'Car', 'Bicyclist')


def make_coco_panoptic(root: Path) -> List[Drawn]:
    """``data/coco``: two training images and one for validation."""
    scene = draw_scene(COCO)
    for split, numbers in (('train2017', (9, 25)), ('val2017', (139,))):
        stems = [f'{number:012d}' for number in numbers]
        for stem in stems:
            write_image(root / split / f'{stem}.jpg')
        write_coco_panoptic(
            root / f'annotations/panoptic_{split}.json',
            root / f'annotations/panoptic_{split}',
            scene,
            categories_of(COCO, first=3, step=40),
            [(number, f'{stem}.jpg', stem) for number, stem in zip(numbers, stems)],
        )
    return scene


def polygon_of(left: int, top: int, right: int, bottom: int) -> List[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(mask: np.ndarray) -> Dict[str, Any]:
    """Uncompressed, as COCO's crowds are."""
    flat = np.concatenate([[False], mask.T.reshape(-1)])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], ends, [mask.size]])).tolist()
    return dict(size=list(mask.shape), counts=counts)


def make_coco_instances(root: Path) -> List[Drawn]:
    """``data/coco``: polygons of objects, and run lengths of a crowd."""
    scene = draw_scene(COCO, stuff=False)
    categories = [
        {key: each[key] for key in ('id', 'name')}
        for each in categories_of(COCO, first=3, step=40)[:2]
    ]
    for split, numbers in (('train2017', (9, 25)), ('val2017', (139,))):
        images, annotations = [], []
        for number in numbers:
            write_image(root / split / f'{number:012d}.jpg')
            size = dict(height=SIZE[0], width=SIZE[1])
            images.append(dict(size, id=number, file_name=f'{number:012d}.jpg'))
            masks = [[polygon_of(*each)] for each in BOXES.values()]
            for index, (each, segmentation) in enumerate(zip(scene, [*masks, run_lengths(CROWD)])):
                annotations.append(
                    dict(
                        id=100 * number + index,
                        image_id=number,
                        category_id=3 if each.name == COCO.one else 43,
                        iscrowd=each.iscrowd,
                        area=float(each.mask.sum()),
                        bbox=[0, 0, 1, 1],
                        segmentation=segmentation,
                    )
                )
        file = root / f'annotations/instances_{split}.json'
        file.parent.mkdir(parents=True, exist_ok=True)
        content = dict(images=images, annotations=annotations, categories=categories)
        file.write_text(json.dumps(content))
    return scene


def make_cityscapes(root: Path, train_ids: bool = False) -> List[Drawn]:
    """``data/cityscapes``: ``*_instanceIds.png`` and the converted panoptic format."""
    scene = draw_scene(STREET)
    labels = {'sky': 23, 'road': 7, 'car': 26, 'person': 24}
    ids = np.full(SIZE, 1, np.uint16)  # ego vehicle, which is void
    ids[0] = 29 * 1000  # a caravan, which is void too
    ids[1] = 0
    for number, each in enumerate(scene):
        is_object = each.name in ('car', 'person') and not each.iscrowd
        ids[each.mask] = labels[each.name] * 1000 + number if is_object else labels[each.name]
    for split, city, count in (('train', 'aachen', 2), ('val', 'lindau', 1)):
        names = [f'{city}_00000{index}_000019' for index in range(count)]
        for name in names:
            write_image(root / f'leftImg8bit/{split}/{city}/{name}_leftImg8bit.png')
            write_png(root / f'gtFine/{split}/{city}/{name}_gtFine_instanceIds.png', ids)
        train = dict(road=0, sky=10, person=11, car=13)
        categories = [
            dict(each, id=train[each['name']] if train_ids else labels[each['name']])
            for each in categories_of(STREET)
        ]
        write_coco_panoptic(
            root / f'gtFine/cityscapes_panoptic_{split}.json',
            root / f'gtFine/cityscapes_panoptic_{split}',
            scene,
            categories,
            # The converter's names are of no files: the folder of the city and a part are missing.
            [(name, f'{name}_gtFine_leftImg8bit.png', name) for name in names],
            '{}_gtFine_panoptic.png',
        )
    return scene


def make_ade20k_instances(root: Path) -> List[Drawn]:
    """``data/ade/ADEChallengeData2016``, its challenge: of 100 things, chair is 8, table 6."""
    scene = draw_scene(ADE, stuff=False, crowd=False)
    content = np.zeros((*SIZE, 3), np.uint8)
    for number, each in enumerate(scene, 1):
        content[each.mask, 0] = dict(chair=8, table=6)[each.name]
        content[each.mask, 1] = number
    for split, count in (('training', 2), ('validation', 1)):
        for index in range(count):
            name = f'{split}/ADE_{split[:5]}_0000000{index}'
            write_image(root / f'images/{name}.jpg')
            write_png(root / f'annotations_instance/{name}.png', content)
    return scene


def make_ade20k_panoptic(root: Path) -> List[Drawn]:
    """``data/ade/ADEChallengeData2016``: as Mask2Former's converter leaves it."""
    scene = draw_scene(ADE, crowd=False)
    # The converter's names are not mmseg's; ids are those of the classes.
    categories = [
        dict(id=2, name='sky', isthing=0),
        dict(id=3, name='floor', isthing=0),
        dict(id=15, name='table', isthing=1),
        dict(id=19, name='chair', isthing=1),
        dict(id=6, name='road, route', isthing=0),
    ]
    for split, folder, count in (('train', 'training', 2), ('val', 'validation', 1)):
        stems = [f'ADE_{split}_0000000{index}' for index in range(count)]
        for stem in stems:
            write_image(root / f'images/{folder}/{stem}.jpg')
        write_coco_panoptic(
            root / f'ade20k_panoptic_{split}.json',
            root / f'ade20k_panoptic_{split}',
            scene,
            categories,
            [(stem, f'{stem}.jpg', stem) for stem in stems],
        )
    return scene


def make_mapillary(root: Path) -> List[Drawn]:
    """``data/mapillary``: panoptic folders of both versions; the second has a group of persons."""
    scene = draw_scene(VISTAS)
    for split, count in (('training', 2), ('validation', 1)):
        stems = [f'{split}{index}' for index in range(count)]
        for stem in stems:
            write_image(root / f'{split}/images/{stem}.jpg')
        for version, name in (('v1.2', 'panoptic_2018'), ('v2.0', 'panoptic_2020')):
            write_coco_panoptic(
                root / f'{split}/{version}/panoptic/{name}.json',
                root / f'{split}/{version}/panoptic',
                scene,
                categories_of(VISTAS),
                [(stem, f'{stem}.jpg', stem) for stem in stems],
            )
    return scene


def make_bitmasks(root: Path, task: str, labels: Dict[str, int], scene: Sequence[Drawn]) -> None:
    """BDD100K's: R is the class, G has attributes, 256 B + A the object."""
    content = np.zeros((*SIZE, 4), np.uint8)
    number = 300  # more than a byte
    for each in scene:
        number += 1
        attributes = 8 + 4 + 2 * each.iscrowd  # truncated and occluded
        content[each.mask] = (labels[each.name], attributes, number // 256, number % 256)
    for split, names in (('train', ('0004a4c0-d4dff0ad', '00054602-3bf57337')), ('val', ('7d06',))):
        for name in names:
            write_image(root / f'images/10k/{split}/{name}.jpg')
            write_png(root / f'labels/{task}/bitmasks/{split}/{name}.png', content)


def make_bdd100k_instances(root: Path) -> List[Drawn]:
    """``data/bdd100k``: with an object that is to be ignored, in the first two rows."""
    scene = draw_scene(STREET._replace(other='rider'), stuff=False)
    make_bitmasks(root, 'ins_seg', dict(car=3, rider=2), scene)
    for path in root.glob('labels/ins_seg/bitmasks/*/*.png'):
        content = np.array(Image.open(path))
        content[:2] = (3, 1, 0, 7)
        Image.fromarray(content).save(path)
    return scene


def make_bdd100k_panoptic(root: Path) -> List[Drawn]:
    """``data/bdd100k``: the road is annotated in two parts."""
    names = STREET
    scene = draw_scene(names)
    (road,) = [each for each in scene if each.name == 'road']
    left = box(12, 24, 0, 9)
    parts = [Drawn('road', 0, road.mask & left), Drawn('road', 0, road.mask & ~left)]
    drawn = [each for each in scene if each.name != 'road'] + parts
    make_bitmasks(root, 'pan_seg', dict(road=7, sky=30, person=31, car=35), drawn)
    return scene


class Layout(NamedTuple):
    """A data set: what writes its tree, and how a config names its files."""

    type: str
    make: Callable[[Path], List[Drawn]]
    train: Dict[str, Any]
    counts: Any  # classes, things
    first: Any = None  # id of the first image


def files_of(img_path: str, seg_map_path: str = '', ann_file: str = '') -> Dict[str, Any]:
    prefix = dict(img_path=img_path, seg_map_path=seg_map_path)
    return dict(data_prefix=prefix, ann_file=ann_file)


ADE_IMAGE = 'ADE_train_00000000'
CITY = 'aachen_000000_000019'
LAYOUTS = {
    'coco_panoptic': Layout(
        'COCOPanopticDataset',
        make_coco_panoptic,
        files_of(
            'train2017',
            'annotations/panoptic_train2017',
            'annotations/panoptic_train2017.json',
        ),
        (133, 80),
        9,
    ),
    'coco_instances': Layout(
        'COCOInstanceDataset',
        make_coco_instances,
        files_of('train2017', ann_file='annotations/instances_train2017.json'),
        (80, 80),
        9,
    ),
    'cityscapes_instances': Layout(
        'CityscapesInstanceDataset',
        make_cityscapes,
        files_of('leftImg8bit/train', 'gtFine/train'),
        (8, 8),
        CITY,
    ),
    'cityscapes_panoptic': Layout(
        'CityscapesPanopticDataset',
        make_cityscapes,
        files_of('leftImg8bit/train', 'gtFine/train'),
        (19, 8),
        CITY,
    ),
    'cityscapes_converted': Layout(
        'CityscapesPanopticDataset',
        make_cityscapes,
        files_of(
            'leftImg8bit/train',
            'gtFine/cityscapes_panoptic_train',
            'gtFine/cityscapes_panoptic_train.json',
        ),
        (19, 8),
        CITY,
    ),
    'cityscapes_converted_train_ids': Layout(
        'CityscapesPanopticDataset',
        lambda root: make_cityscapes(root, train_ids=True),
        files_of(
            'leftImg8bit/train',
            'gtFine/cityscapes_panoptic_train',
            'gtFine/cityscapes_panoptic_train.json',
        ),
        (19, 8),
        CITY,
    ),
    'ade20k_instances': Layout(
        'ADE20KInstanceDataset',
        make_ade20k_instances,
        files_of('images/training', 'annotations_instance/training'),
        (100, 100),
        ADE_IMAGE,
    ),
    'ade20k_panoptic': Layout(
        'ADE20KPanopticDataset',
        make_ade20k_panoptic,
        files_of('images/training', 'ade20k_panoptic_train', 'ade20k_panoptic_train.json'),
        (150, 100),
        ADE_IMAGE,
    ),
    'mapillary_v1': Layout(
        'MapillaryPanopticDataset_v1',
        make_mapillary,
        files_of(
            'training/images', 'training/v1.2/panoptic', 'training/v1.2/panoptic/panoptic_2018.json'
        ),
        (65, 37),
        'training0',
    ),
    'mapillary_v2': Layout(
        'MapillaryPanopticDataset_v2',
        make_mapillary,
        files_of(
            'training/images', 'training/v2.0/panoptic', 'training/v2.0/panoptic/panoptic_2020.json'
        ),
        (123, 2),  # those of which the small file says it
        'training0',
    ),
    'bdd100k_instances': Layout(
        'BDD100KInstanceDataset',
        make_bdd100k_instances,
        files_of('images/10k/train', 'labels/ins_seg/bitmasks/train'),
        (8, 8),
        '0004a4c0-d4dff0ad',
    ),
    'bdd100k_panoptic': Layout(
        'BDD100KPanopticDataset',
        make_bdd100k_panoptic,
        files_of('images/10k/train', 'labels/pan_seg/bitmasks/train'),
        (40, 10),
        '0004a4c0-d4dff0ad',
    ),
}
