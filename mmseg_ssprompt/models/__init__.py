"""Models: frozen SAM parts, prompt learners, and the head and segmentor that join them."""

from .classifiers import TokenClassifier
from .embedded import EmbeddingPreProcessor, PrecomputedEmbedding
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
    'ContextPromptLearner',
    'CoordinatePromptLearner',
    'EmbeddingPreProcessor',
    'LinearEmbeddingHead',
    'MaskClassificationLoss',
    'PrecomputedEmbedding',
    'PromptSegmentor',
    'SAMImageEncoder',
    'SAMMaskDecoder',
    'SAMPromptEncoder',
    'SSPromptHead',
    'SemanticPromptLearner',
    'SpatialPromptLearner',
    'TokenClassifier',
]
