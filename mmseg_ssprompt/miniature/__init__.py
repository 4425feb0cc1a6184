"""ShapesWorld, a drawn world of shapes on which the whole method runs on a CPU."""

from .example_files import write_example
from .shapes_backend import ShapesBackend
from .shapes_dataset import (
    ShapesCoastDataset,
    ShapesCoastInstanceDataset,
    ShapesWorldDataset,
    ShapesWorldInstanceDataset,
)

__all__ = [
    'ShapesBackend',
    'ShapesCoastDataset',
    'ShapesCoastInstanceDataset',
    'ShapesWorldDataset',
    'ShapesWorldInstanceDataset',
    'write_example',
]
