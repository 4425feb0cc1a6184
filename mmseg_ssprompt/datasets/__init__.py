"""Data sets and what can be wrong with them."""

from .checks import DatasetError, explain_empty_datasets
from .shapes_backend import ShapesBackend
from .shapes_dataset import ShapesWorldDataset

__all__ = ['DatasetError', 'ShapesBackend', 'ShapesWorldDataset']

explain_empty_datasets()
