"""CamVid in the arrangement that SegNet made common."""

from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

__all__ = ['CamVidDataset']


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid (*Cambridge-driving Labeled Video Database*), 11 classes and void.

    ::

        train/*.png  trainannot/*.png  val/*.png  valannot/*.png  test/*.png  testannot/*.png

    An image and its label map have the same name. Ids are those of ``METAINFO``; choose the 11
    classes with ``metainfo=dict(classes=...)``, and void, 11 in the files, becomes 255.

    Args:
        img_suffix: End of an image's name. Defaults to '.png'.
        seg_map_suffix: End of a label map's name. Defaults to '.png'.
        **kwargs: As for ``BaseSegDataset``.
    """

    METAINFO = dict(
        classes=(
            *('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign symbol', 'fence'),
            *('car', 'pedestrian', 'bicyclist', 'void'),
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
            [0, 0, 0],
        ],
    )

    def __init__(
        self, img_suffix: str = '.png', seg_map_suffix: str = '.png', **kwargs: Any
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
