"""Data sets and what can be wrong with them."""

from .acdc import ACDCDataset
from .camvid import CamVidDataset
from .checks import DatasetError, UnreadableFileError, explain_dataset_errors
from .few_shot import FewShotDataset, draw_few_shot
from .image_folder import ImageFolderDataset
from .label_maps import LoadLabelMap, ResizeWithLabels, relabel_dataset
from .load_segments import LoadSegments, PackSegmentInputs
from .panoptic_datasets import (
    ADE20KInstanceDataset,
    ADE20KPanopticDataset,
    BDD100KInstanceDataset,
    BDD100KPanopticDataset,
    CityscapesInstanceDataset,
    CityscapesPanopticDataset,
    COCOInstanceDataset,
    COCOPanopticDataset,
    MapillaryPanopticDataset_v1,
    MapillaryPanopticDataset_v2,
)
from .seeded import PlacedSampler, SeededDataset
from .seem_resize import SEEMResize
from .segments_dataset import SegmentsDataset

__all__ = [
    'ACDCDataset',
    'ADE20KInstanceDataset',
    'ADE20KPanopticDataset',
    'BDD100KInstanceDataset',
    'BDD100KPanopticDataset',
    'COCOInstanceDataset',
    'COCOPanopticDataset',
    'CamVidDataset',
    'CityscapesInstanceDataset',
    'CityscapesPanopticDataset',
    'DatasetError',
    'FewShotDataset',
    'ImageFolderDataset',
    'LoadLabelMap',
    'LoadSegments',
    'MapillaryPanopticDataset_v1',
    'MapillaryPanopticDataset_v2',
    'PackSegmentInputs',
    'PlacedSampler',
    'ResizeWithLabels',
    'SEEMResize',
    'SeededDataset',
    'SegmentsDataset',
    'UnreadableFileError',
    'draw_few_shot',
    'explain_dataset_errors',
    'relabel_dataset',
]
