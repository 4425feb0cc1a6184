"""Data sets and transforms."""

from .shapes_backend import ShapesBackend
from .shapes_dataset import ShapesWorldDataset

__all__ = ['ShapesBackend', 'ShapesWorldDataset']
