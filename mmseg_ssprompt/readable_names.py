"""Class names as people write them, and which classes are things, for the paper's data sets.

A text encoder reads class names as language, while some data sets spell theirs for machines:
'pottedplant', 'Lane Marking - General'. Readable names are in lower case, which is all the same
to CLIP's tokenizer; where more than that is changed, the wording is ours. Things are countable
objects and stuff is the rest, as published:

- Cityscapes, BDD100K, ACDC: the classes with ``hasInstances`` in cityscapesscripts'
  ``helpers/labels.py``. BDD100K and ACDC use the same 19 classes.
- ADE20K: the 100 things of ADE20K's instance challenge and 50 stuff, as in MaskFormer's and
  Mask2Former's ``register_ade20k_panoptic.py`` (``isthing``, by index, because mmseg calls some
  classes by another synonym).
- Mapillary Vistas 1.2: the 37 instance-specific classes of its ``config.json`` (``instances``), as
  in Mask2Former's ``register_mapillary_vistas_panoptic.py``.
- Pascal Context: the 20 object classes of Pascal VOC, with which the 59 classes of Mottaghi et
  al. (CVPR 2014) begin; VOC's 'diningtable' is 'table' there.
"""

import re
from typing import Dict, Optional, Sequence, Tuple

from mmseg.registry import DATASETS

__all__ = [
    'find_thing_classes',
    'readable_class_names',
    'split_classes',
    'stuff_classes',
    'thing_classes',
]

Names = Tuple[str, ...]

_CITYSCAPES = ('things', 'person, rider, car, truck, bus, train, motorcycle, bicycle')
_PASCAL_CONTEXT = (
    'things',
    'aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, table, dog, horse, '
    'motorbike, person, pottedplant, sheep, sofa, train, tvmonitor',
)
#: The shorter of the two groups of a data set's classes, by the type of the data set.
_GROUPS: Dict[str, Tuple[str, str]] = dict(
    ACDCDataset=_CITYSCAPES,
    ADE20KDataset=(
        'stuff',
        'wall, building, sky, floor, tree, ceiling, road, grass, sidewalk, earth, mountain, '
        'plant, water, house, sea, rug, field, rock, base, sand, skyscraper, grandstand, path, '
        'runway, stairway, river, bridge, blind, hill, bar, hovel, tower, dirt track, land, '
        'escalator, buffet, poster, stage, conveyer belt, canopy, swimming pool, waterfall, '
        'tent, cradle, tank, lake, blanket, pier, crt screen, shower',
    ),
    BDD100KDataset=_CITYSCAPES,
    CityscapesDataset=_CITYSCAPES,
    MapillaryDataset_v1=(
        'stuff',
        'Curb, Fence, Guard Rail, Barrier, Wall, Bike Lane, Curb Cut, Parking, Pedestrian Area, '
        'Rail Track, Road, Service Lane, Sidewalk, Bridge, Building, Tunnel, '
        'Lane Marking - General, Mountain, Sand, Sky, Snow, Terrain, Vegetation, Water, Pothole, '
        'On Rails, Car Mount, Ego Vehicle, Unlabeled',
    ),
    PascalContextDataset=_PASCAL_CONTEXT,
    PascalContextDataset59=_PASCAL_CONTEXT,
)
#: What COCO adds to names of stuff, and SEEM leaves out.
_COCO_ENDS = re.compile('-(other|merged|stuff)')
#: Names of these data sets that need more than lower case.
_READABLE: Dict[str, str] = {
    'pottedplant': 'potted plant',
    'tvmonitor': 'tv monitor',
    'Crosswalk - Plain': 'plain crosswalk',
    'Parking': 'parking area',
    'Lane Marking - Crosswalk': 'zebra crossing',
    'Lane Marking - General': 'lane marking',
    'Traffic Sign (Back)': 'back of a traffic sign',
    'Traffic Sign (Front)': 'traffic sign',
    'On Rails': 'rail vehicle',
    'Wheeled Slow': 'slow wheeled vehicle',
}


def readable_class_names(dataset: str, classes: Optional[Sequence[str]] = None) -> Names:
    """The class names of a registered data set, as people write them.

    Args:
        dataset: Registered type of the data set; one that this module does not know keeps its
            own names.
        classes: Some of its classes, by its own names. Defaults to None: all.

    Returns:
        One name for each class, in the same order.

    Raises:
        ValueError: If no such data set is registered, it names no classes, or has not all of
            ``classes``.
    """
    kind, own = _look_up(dataset)
    has_objects = {'thing_classes', 'void_classes'} & set(DATASETS.get(dataset).METAINFO)
    if classes is None:
        classes = own
    unknown = [name for name in classes if name not in own]
    if isinstance(classes, str) or unknown:
        raise ValueError(
            f'data set {dataset!r} has no classes {unknown}: expected a list of some of {list(own)}'
        )
    if kind not in _GROUPS and not has_objects:
        return tuple(classes)
    names = (_COCO_ENDS.sub('', name) if kind.startswith('COCO') else name for name in classes)
    return tuple(_READABLE.get(name) or ' '.join(name.split()).lower() for name in names)


def thing_classes(dataset: str) -> Names:
    """The countable classes of a data set, by its own names and in its order.

    Raises:
        ValueError: If the data set is not registered, or this module does not know its things.
    """
    return _choose(dataset, 'things')


def stuff_classes(dataset: str) -> Names:
    """The other classes of a data set; as for :func:`thing_classes`."""
    return _choose(dataset, 'stuff')


def find_thing_classes(dataset: str) -> Optional[Names]:
    """As :func:`thing_classes`, or what the data set's ``METAINFO`` says; None if neither does."""
    kind, _ = _look_up(dataset)
    stated = DATASETS.get(dataset).METAINFO.get('thing_classes')
    if stated is not None:
        return tuple(stated)
    return thing_classes(dataset) if kind in _GROUPS else None


def _choose(dataset: str, wanted: str) -> Names:
    kind, own = _look_up(dataset)
    if kind not in _GROUPS:
        raise ValueError(
            f'which classes of data set {dataset!r} are things is known only for '
            f'{sorted(_GROUPS)}: give thing_classes and stuff_classes in its metainfo'
        )
    return split_classes(kind, own)[wanted == 'stuff']


def split_classes(kind: str, classes: Sequence[str]) -> Tuple[Names, Names]:
    """Things and stuff among the classes of a type of data set that this module knows."""
    group, members = _GROUPS[kind]
    is_thing = [(name.strip() in members.split(', ')) == (group == 'things') for name in classes]
    things = tuple(name for name, thing in zip(classes, is_thing) if thing)
    return things, tuple(name for name, thing in zip(classes, is_thing) if not thing)


def _look_up(dataset: str) -> Tuple[str, Names]:
    """The name of a data set's type, and its own class names."""
    found = DATASETS.get(dataset)
    if found is None:
        raise ValueError(
            f'the classes were asked for of data set {dataset!r}, which is not registered: '
            'expected the type of a data set such as "ADE20KDataset"'
        )
    own = getattr(found, 'METAINFO', {}).get('classes')
    if not own:
        raise ValueError(f'data set {dataset!r} names no classes: give class_names instead')
    return found.__name__, tuple(own)
