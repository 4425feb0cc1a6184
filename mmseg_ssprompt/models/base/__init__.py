"""The contracts of base models, and what all of them share."""

from .contracts import (
    Classifier,
    ClassNameEncoder,
    Fingerprints,
    ImageEncoder,
    PromptableSegmenter,
    Shape,
)
from .features import Decoded, ImageFeatures
from .frozen import FrozenModule, fingerprint_parts
from .precomputed import EmbeddingPreProcessor, PrecomputedFeatures

__all__ = [
    'ClassNameEncoder',
    'Classifier',
    'Decoded',
    'EmbeddingPreProcessor',
    'Fingerprints',
    'FrozenModule',
    'ImageEncoder',
    'ImageFeatures',
    'PrecomputedFeatures',
    'PromptableSegmenter',
    'Shape',
    'fingerprint_parts',
]
