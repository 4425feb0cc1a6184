"""Embedded samples on disk: what the frozen image encoder makes of a data set, computed once."""

from .embedded_dataset import EmbeddedDataset
from .embedder import EmbeddedSample, Embedder, SourceViews
from .files import CacheError
from .reader import EmbeddingCache
from .recipe import Recipe
from .writer import fill_cache, finish_cache

__all__ = [
    'CacheError',
    'EmbeddedDataset',
    'EmbeddedSample',
    'Embedder',
    'EmbeddingCache',
    'Recipe',
    'SourceViews',
    'fill_cache',
    'finish_cache',
]
