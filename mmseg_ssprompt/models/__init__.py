"""Models: frozen base models, prompt learners, and the head and segmentor that join them."""

from .classifiers import CLIPRegionClassifier, EnsembleClassifier, TokenClassifier
from .clip import CLIPClassNameEncoder, CLIPImageEncoder, SAMCLIPImageEncoder
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

__all__ = [
    'CLIPClassNameEncoder',
    'CLIPImageEncoder',
    'CLIPRegionClassifier',
    'ContextPromptLearner',
    'CoordinatePromptLearner',
    'EnsembleClassifier',
    'LinearEmbeddingHead',
    'MaskClassificationLoss',
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
