"""Data sets of the field with objects: instances and panoptic maps, in the formats of each."""

from typing import Any, Mapping

from mmseg.registry import DATASETS

from . import segment_tables as tables
from .segments_dataset import SegmentsDataset

__all__ = [
    'ADE20KInstanceDataset',
    'ADE20KPanopticDataset',
    'BDD100KInstanceDataset',
    'BDD100KPanopticDataset',
    'COCOInstanceDataset',
    'COCOPanopticDataset',
    'CityscapesInstanceDataset',
    'CityscapesPanopticDataset',
    'MapillaryPanopticDataset_v1',
    'MapillaryPanopticDataset_v2',
]


@DATASETS.register_module()
class COCOPanopticDataset(SegmentsDataset):
    """COCO's panoptic format: id = R + 256 G + 65536 B in a PNG file of each image.

    ::

        train2017/*.jpg
        annotations/panoptic_train2017.json
        annotations/panoptic_train2017/*.png

    Classes are found by the names of the file's categories; for data of one's own in this format
    give ``metainfo=dict(classes=...)``: what is a thing, the file says (``isthing``).

    See :class:`SegmentsDataset`.
    """

    METAINFO = tables.COCO_PANOPTIC


@DATASETS.register_module()
class COCOInstanceDataset(SegmentsDataset):
    """COCO's format of instances, as polygons or run lengths.

    ::

        train2017/*.jpg
        annotations/instances_train2017.json

    For data of one's own in this format give ``metainfo=dict(classes=...)``. Where objects overlap,
    the smaller lies on top.

    See :class:`SegmentsDataset`.
    """

    METAINFO = tables.COCO_INSTANCE


@DATASETS.register_module()
class CityscapesInstanceDataset(SegmentsDataset):
    """Cityscapes' objects, from ``*_gtFine_instanceIds.png``.

    A pixel is ``label * 1000 + n`` in the n-th object of a label, and the label alone in regions
    and in groups of objects, which are crowds here.

    Args:
        img_suffix: Defaults to '_leftImg8bit.png'.
        seg_map_suffix: Defaults to '_gtFine_instanceIds.png'.
        **kwargs: As for :class:`SegmentsDataset`.
    """

    METAINFO = tables.CITYSCAPES_INSTANCE
    kind = 'instance_ids'
    label_names = tables.CITYSCAPES_LABELS

    def __init__(
        self,
        img_suffix: str = '_leftImg8bit.png',
        seg_map_suffix: str = '_gtFine_instanceIds.png',
        **kwargs: Any,
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)


@DATASETS.register_module()
class CityscapesPanopticDataset(CityscapesInstanceDataset):
    """Cityscapes' objects and regions: the 19 classes.

    From ``*_gtFine_instanceIds.png``, as :class:`CityscapesInstanceDataset`; or with ``ann_file``
    from what cityscapesscripts' ``createPanopticImgs.py`` makes of them::

        gtFine/cityscapes_panoptic_train.json
        gtFine/cityscapes_panoptic_train/*_gtFine_panoptic.png

    Both give the same segments. The converted format with train ids (``--use-train-id``) is read
    too.

    Args:
        **kwargs: As for :class:`CityscapesInstanceDataset`.
    """

    METAINFO = tables.CITYSCAPES_PANOPTIC

    def image_name(self, image: Mapping[str, Any]) -> str:
        """The path of an image: the file has names without the folders of cities."""
        name = str(image['id'])
        return f'{name.split("_")[0]}/{name}{self.img_suffix}'


@DATASETS.register_module()
class ADE20KInstanceDataset(SegmentsDataset):
    """The 100 things of ADE20K's instance challenge.

    ::

        images/training/*.jpg
        annotations_instance/training/*.png

    R is the number of the class from 1, G that of the object in the picture.

    Args:
        img_suffix: Defaults to '.jpg'.
        **kwargs: As for :class:`SegmentsDataset`.
    """

    METAINFO = tables.ADE20K_INSTANCE
    kind = 'ade_instances'
    label_names = tables.number_from(1, tables.ADE20K_INSTANCE['classes'])

    def __init__(self, img_suffix: str = '.jpg', **kwargs: Any) -> None:
        super().__init__(img_suffix=img_suffix, **kwargs)


@DATASETS.register_module()
class ADE20KPanopticDataset(SegmentsDataset):
    """ADE20K's 150 classes in COCO's panoptic format, as Mask2Former's converter makes it.

    ::

        images/training/*.jpg
        ade20k_panoptic_train.json
        ade20k_panoptic_train/*.png

    Category ids are 0 to 149. The converter lays objects over regions that they may hide, so that
    the file has segments without pixels: the log says how many.

    See :class:`SegmentsDataset`.
    """

    METAINFO = tables.ADE20K_PANOPTIC
    category_ids = tuple(range(150))
    may_be_hidden = True


@DATASETS.register_module()
class MapillaryPanopticDataset_v1(SegmentsDataset):
    """Mapillary Vistas with the labels of version 1.2, in its folders of panoptic maps.

    ::

        training/images/*.jpg
        training/v1.2/panoptic/panoptic_2018.json
        training/v1.2/panoptic/*.png

    See :class:`SegmentsDataset`.
    """

    METAINFO = tables.MAPILLARY_V1


@DATASETS.register_module()
class MapillaryPanopticDataset_v2(SegmentsDataset):
    """Mapillary Vistas with the labels of version 2.0, in its folders of panoptic maps.

    ::

        training/images/*.jpg
        training/v2.0/panoptic/panoptic_2020.json
        training/v2.0/panoptic/*.png

    Which of the 123 classes are things is what the file says.

    See :class:`SegmentsDataset`.
    """

    METAINFO = tables.MAPILLARY_V2


@DATASETS.register_module()
class BDD100KInstanceDataset(SegmentsDataset):
    """BDD100K's 8 classes of objects, from its bitmasks.

    ::

        images/10k/train/*.jpg
        labels/ins_seg/bitmasks/train/*.png

    R is the class from 1, 256 B + A the number of the object; of the attributes in G, crowds are
    crowds and what is to be ignored is void.

    Args:
        img_suffix: Defaults to '.jpg'.
        **kwargs: As for :class:`SegmentsDataset`.
    """

    METAINFO = tables.BDD100K_INSTANCE
    kind = 'bitmask'
    label_names = tables.number_from(1, tables.BDD100K_INSTANCE['classes'])

    def __init__(self, img_suffix: str = '.jpg', **kwargs: Any) -> None:
        super().__init__(img_suffix=img_suffix, **kwargs)


@DATASETS.register_module()
class BDD100KPanopticDataset(BDD100KInstanceDataset):
    """BDD100K's 40 panoptic classes, from its bitmasks.

    ::

        images/10k/train/*.jpg
        labels/pan_seg/bitmasks/train/*.png

    As :class:`BDD100KInstanceDataset`; the parts of a stuff class are one segment.

    Args:
        **kwargs: As for :class:`BDD100KInstanceDataset`.
    """

    METAINFO = tables.BDD100K_PANOPTIC
    label_names = tables.number_from(1, tables.BDD100K_PANOPTIC['classes'])
