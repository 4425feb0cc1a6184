"""Classes of data sets with objects, and the numbers that stand for them in their files.

Facts of the data sets, as published:

- COCO: the 80 things of its instances, and 53 stuff classes more in its panoptic format.
- Cityscapes: ``labels`` in cityscapesscripts' ``helpers/labels.py``.
- ADE20K: the 100 things of the instance challenge are those of the 150 classes in their order.
- Mapillary Vistas: "Unlabeled" is void in both versions.
- BDD100K: the label format in its documentation; 8 classes of instances, 40 of panoptic
  segmentation in the order of bdd100k's ``configs/pan_seg.toml``.
"""

from typing import Any, Dict, Optional, Sequence, Tuple

from mmseg.datasets import (
    ADE20KDataset,
    CityscapesDataset,
    MapillaryDataset_v1,
    MapillaryDataset_v2,
)

from ..readable_names import split_classes
from ..segments import split_things

__all__ = [
    'ADE20K_INSTANCE',
    'ADE20K_PANOPTIC',
    'BDD100K_INSTANCE',
    'BDD100K_PANOPTIC',
    'CITYSCAPES_INSTANCE',
    'CITYSCAPES_LABELS',
    'CITYSCAPES_PANOPTIC',
    'COCO_INSTANCE',
    'COCO_PANOPTIC',
    'MAPILLARY_V1',
    'MAPILLARY_V2',
    'number_from',
]

Names = Tuple[str, ...]
Metainfo = Dict[str, Any]


def _split(text: str) -> Names:
    return tuple(text.split(', '))


def _metainfo(
    classes: Names,
    things: Optional[Sequence[str]],
    palette: Any = None,
    void: Names = (),
) -> Metainfo:
    """Metainfo with things and stuff, where they are known; without palette it is drawn."""
    metainfo: Metainfo = dict(classes=classes, void_classes=void)
    if palette is not None:
        metainfo['palette'] = [list(colour) for colour in palette]
    if things is not None:
        metainfo.update(split_things(classes, things))
    return metainfo


def _things_of(dataset: Any, void: Names = ()) -> Metainfo:
    """Metainfo of the things of one of mmseg's data sets, with their colours."""
    things, _ = split_classes(dataset.__name__, dataset.METAINFO['classes'])
    colours = dict(zip(dataset.METAINFO['classes'], dataset.METAINFO['palette']))
    return _metainfo(things, things, [colours[name] for name in things], void)


def number_from(first: int, names: Sequence[str]) -> Dict[int, str]:
    """Names by consecutive numbers."""
    return dict(enumerate(names, first))


_COCO_THINGS = _split(
    'person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, '
    'fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, '
    'bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, '
    'sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, '
    'bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, '
    'carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, '
    'tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, '
    'refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush'
)
_COCO_STUFF = _split(
    'banner, blanket, bridge, cardboard, counter, curtain, door-stuff, floor-wood, flower, fruit, '
    'gravel, house, light, mirror-stuff, net, pillow, platform, playingfield, railroad, river, '
    'road, roof, sand, sea, shelf, snow, stairs, tent, towel, wall-brick, wall-stone, wall-tile, '
    'wall-wood, water-other, window-blind, window-other, tree-merged, fence-merged, '
    'ceiling-merged, sky-other-merged, cabinet-merged, table-merged, floor-other-merged, '
    'pavement-merged, mountain-merged, grass-merged, dirt-merged, paper-merged, '
    'food-other-merged, building-other-merged, rock-merged, wall-other-merged, rug-merged'
)
COCO_INSTANCE = _metainfo(_COCO_THINGS, _COCO_THINGS)
COCO_PANOPTIC = _metainfo((*_COCO_THINGS, *_COCO_STUFF), _COCO_THINGS)

#: The name of each label in Cityscapes' files, in the order of their ids from 0.
_CITYSCAPES_NAMES = _split(
    'unlabeled, ego vehicle, rectification border, out of roi, static, dynamic, ground, road, '
    'sidewalk, parking, rail track, building, wall, fence, guard rail, bridge, tunnel, pole, '
    'polegroup, traffic light, traffic sign, vegetation, terrain, sky, person, rider, car, truck, '
    'bus, caravan, trailer, train, motorcycle, bicycle'
)
CITYSCAPES_LABELS = number_from(0, _CITYSCAPES_NAMES)
_CITYSCAPES = CityscapesDataset.METAINFO
_CITYSCAPES_VOID = tuple(n for n in _CITYSCAPES_NAMES if n not in _CITYSCAPES['classes'])
CITYSCAPES_INSTANCE = _things_of(CityscapesDataset, _CITYSCAPES_VOID)
CITYSCAPES_PANOPTIC = _metainfo(
    tuple(_CITYSCAPES['classes']),
    split_classes('CityscapesDataset', _CITYSCAPES['classes'])[0],
    _CITYSCAPES['palette'],
    _CITYSCAPES_VOID,
)

ADE20K_INSTANCE = _things_of(ADE20KDataset)
ADE20K_PANOPTIC = _metainfo(
    tuple(ADE20KDataset.METAINFO['classes']),
    split_classes('ADE20KDataset', ADE20KDataset.METAINFO['classes'])[0],
    ADE20KDataset.METAINFO['palette'],
)

_MAPILLARY_V1, _MAPILLARY_V2 = MapillaryDataset_v1.METAINFO, MapillaryDataset_v2.METAINFO
MAPILLARY_V1 = _metainfo(
    tuple(_MAPILLARY_V1['classes'][:-1]),
    split_classes('MapillaryDataset_v1', _MAPILLARY_V1['classes'])[0],
    _MAPILLARY_V1['palette'][:-1],
    void=('Unlabeled',),
)
#: Which classes are things, the files of version 2.0 say themselves (``isthing``).
MAPILLARY_V2 = _metainfo(
    tuple(_MAPILLARY_V2['classes'][:-1]), None, _MAPILLARY_V2['palette'][:-1], void=('Unlabeled',)
)

_BDD100K_INSTANCE = _split('pedestrian, rider, car, truck, bus, train, motorcycle, bicycle')
_BDD100K_STUFF = _split(
    'dynamic, ego vehicle, ground, static, parking, rail track, road, sidewalk, bridge, building, '
    'fence, garage, guard rail, tunnel, wall, banner, billboard, lane divider, parking sign, pole, '
    'polegroup, street light, traffic cone, traffic device, traffic light, traffic sign, '
    'traffic sign frame, terrain, vegetation, sky'
)
_BDD100K_THINGS = _split(
    'person, rider, bicycle, bus, car, caravan, motorcycle, trailer, train, truck'
)
BDD100K_INSTANCE = _metainfo(_BDD100K_INSTANCE, _BDD100K_INSTANCE)
BDD100K_PANOPTIC = _metainfo((*_BDD100K_STUFF, *_BDD100K_THINGS), _BDD100K_THINGS)
