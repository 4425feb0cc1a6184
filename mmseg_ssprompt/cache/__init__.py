"""Embedded samples on disk: what the frozen image encoder makes of a data set, computed once."""

from .embedded_dataset import EmbeddedDataset
from .embedder import EmbeddedSample, Embedder, SourceViews
from .embedding_cache import EmbeddingCache, fill_cache, finish_cache
from .making import CacheMaker, make_caches
from .recipe import CacheError, Recipe

__all__ = [
    'CacheError',
    'CacheMaker',
    'EmbeddedDataset',
    'EmbeddedSample',
    'Embedder',
    'EmbeddingCache',
    'Recipe',
    'SourceViews',
    'fill_cache',
    'finish_cache',
    'make_caches',
]
