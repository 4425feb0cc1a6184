"""Data sets and what can be wrong with them."""

from .acdc import ACDCDataset
from .checks import DatasetError, UnreadableFileError, explain_dataset_errors
from .embedded import EmbeddedDataset
from .few_shot import FewShotDataset, draw_few_shot
from .image_folder import ImageFolderDataset
from .label_maps import LoadLabelMap, ResizeWithLabels
from .relabelled import relabel_dataset
from .seeded import PlacedSampler, SeededDataset
from .shapes_backend import ShapesBackend
from .shapes_dataset import ShapesCoastDataset, ShapesWorldDataset

__all__ = [
    'ACDCDataset',
    'DatasetError',
    'EmbeddedDataset',
    'FewShotDataset',
    'ImageFolderDataset',
    'LoadLabelMap',
    'PlacedSampler',
    'ResizeWithLabels',
    'SeededDataset',
    'ShapesBackend',
    'ShapesCoastDataset',
    'ShapesWorldDataset',
    'UnreadableFileError',
    'draw_few_shot',
    'relabel_dataset',
]

explain_dataset_errors()
