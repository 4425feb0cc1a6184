"""Models: frozen base models, prompt learners, and the head and segmentor that join them."""

from .base import EmbeddingPreProcessor, PrecomputedFeatures
from .classifiers import (
    BaseModelClassifier,
    CLIPRegionClassifier,
    EnsembleClassifier,
    TokenClassifier,
)
from .clip import CLIPClassNameEncoder, CLIPImageEncoder, SAMCLIPImageEncoder
from .heads import LinearEmbeddingHead, SSPromptHead
from .losses import MaskClassificationLoss
from .prompts import (
    ContextPromptLearner,
    CoordinatePromptLearner,
    SemanticPromptLearner,
    SpatialPromptLearner,
)
from .sam import SAMImageEncoder, SAMMaskDecoder, SAMPromptEncoder, SAMSegmenter
from .seem import SEEMImageEncoder, SEEMSegmenter, SEEMTextEncoder
from .segmentors import PromptSegmentor

__all__ = [
    'BaseModelClassifier',
    'CLIPClassNameEncoder',
    'CLIPImageEncoder',
    'CLIPRegionClassifier',
    'ContextPromptLearner',
    'CoordinatePromptLearner',
    'EmbeddingPreProcessor',
    'EnsembleClassifier',
    'LinearEmbeddingHead',
    'MaskClassificationLoss',
    'PrecomputedFeatures',
    'PromptSegmentor',
    'SAMCLIPImageEncoder',
    'SAMImageEncoder',
    'SAMMaskDecoder',
    'SAMPromptEncoder',
    'SAMSegmenter',
    'SEEMImageEncoder',
    'SEEMSegmenter',
    'SEEMTextEncoder',
    'SSPromptHead',
    'SemanticPromptLearner',
    'SpatialPromptLearner',
    'TokenClassifier',
]
