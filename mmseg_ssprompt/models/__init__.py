"""Models: frozen SAM parts, prompt learners, and the head and segmentor that join them."""

from .classifiers import CLIPRegionClassifier, EnsembleClassifier, TokenClassifier
from .clip import CLIPImageEncoder, SAMCLIPImageEncoder
from .embedded import (
    EmbeddingPreProcessor,
    PrecomputedCLIPTokens,
    PrecomputedEmbedding,
    PrecomputedFeatures,
)
from .heads import LinearEmbeddingHead, SSPromptHead
from .losses import MaskClassificationLoss
from .prompts import (
    ContextPromptLearner,
    CoordinatePromptLearner,
    SemanticPromptLearner,
    SpatialPromptLearner,
)
from .sam import SAMImageEncoder, SAMMaskDecoder, SAMPromptEncoder
from .segmentors import PromptSegmentor
from .text import CLIPClassNameEncoder

__all__ = [
    'CLIPClassNameEncoder',
    'CLIPImageEncoder',
    'CLIPRegionClassifier',
    'ContextPromptLearner',
    'CoordinatePromptLearner',
    'EmbeddingPreProcessor',
    'EnsembleClassifier',
    'LinearEmbeddingHead',
    'MaskClassificationLoss',
    'PrecomputedCLIPTokens',
    'PrecomputedEmbedding',
    'PrecomputedFeatures',
    'PromptSegmentor',
    'SAMCLIPImageEncoder',
    'SAMImageEncoder',
    'SAMMaskDecoder',
    'SAMPromptEncoder',
    'SSPromptHead',
    'SemanticPromptLearner',
    'SpatialPromptLearner',
    'TokenClassifier',
]
