"""Data sets and what can be wrong with them."""

from .acdc import ACDCDataset
from .checks import DatasetError, UnreadableFileError, explain_dataset_errors
from .few_shot import FewShotDataset, draw_few_shot
from .image_folder import ImageFolderDataset
from .label_maps import LoadLabelMap, ResizeWithLabels, relabel_dataset
from .seeded import PlacedSampler, SeededDataset
from .seem_resize import SEEMResize

__all__ = [
    'ACDCDataset',
    'DatasetError',
    'FewShotDataset',
    'ImageFolderDataset',
    'LoadLabelMap',
    'PlacedSampler',
    'ResizeWithLabels',
    'SEEMResize',
    'SeededDataset',
    'UnreadableFileError',
    'draw_few_shot',
    'explain_dataset_errors',
    'relabel_dataset',
]
