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
from .settings import find_autocast_dtype, find_variant
from .text import average_templates

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
    'average_templates',
    'find_autocast_dtype',
    'find_variant',
    'fingerprint_parts',
]
